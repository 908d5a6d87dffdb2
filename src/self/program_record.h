// The file "program" of a snapshot of component self: what a restart runs.
#pragma once

#include <string>
#include <vector>

namespace crs::self {

inline constexpr const char* kProgramFile = "program";
// How a restarted program knows that it is one: the location of its snapshot, and the reference. Both are taken out of
// the environment at the first use of libcrs, so that the program's children are not taken for restarted, too.
inline constexpr const char* kLocationVariable = "CRS_SELF_LOCATION";
inline constexpr const char* kReferenceVariable = "CRS_SELF_REFERENCE";
// The number at which a program that reports finds RestartOptions::channel; taken out likewise.
inline constexpr const char* kChannelVariable = "CRS_SELF_CHANNEL";

struct ProgramRecord {
  std::string executable;  // a path, or a name to be looked for in $PATH
  std::vector<std::string> arguments;
  std::string working_directory;
  // The program itself is started, and calls its restart function before it has a service: a restart waits to hear how
  // that ended. Of any other command nobody knows whether it will ever say something.
  bool reports = false;
};

// Of this process as it was started, in its present working directory. Throws an Error if /proc does not say.
ProgramRecord record_of_this_process();

// Throws an Error unless what `record` has in common with `own`, the record of this process, is there: the program may
// have lost its executable or its working directory. What replaced the executable meanwhile is what a restart runs.
// Other commands and directories are the program's affair.
void check_can_start(const ProgramRecord& record, const ProgramRecord& own);

void write_program_record(const std::string& path, const ProgramRecord& record);
// Throws an Error of kind Damaged for anything that write_program_record() does not write.
ProgramRecord read_program_record(const std::string& path);

}  // namespace crs::self
