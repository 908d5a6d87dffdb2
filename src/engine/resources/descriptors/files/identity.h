// Files by their path: what is recorded of one at the checkpoint, and whether it is still the same at the restart.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "crs/component.hpp"
#include "engine/resources/descriptors/files/files.pb.h"
#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// How a file can be found again.
enum class Reach {
  ByPath,     // the path that /proc shows leads to it
  Gone,       // unlinked: no path, or another name than it was opened by
  Elsewhere,  // in another mount namespace, or covered by a mount
};
Reach reach_of(const Seen& seen);

// A regular file by which the process has standard input, output or error and which cannot be had again from here: no
// path leads to it, or only the shell that handed it over may open it, or read what is in it where it is unlinked.
bool is_stream_out_of_reach(const Seen& seen);

// Records a file that its path reaches. Files in /proc of the process that has it open are recorded as /proc/self;
// those of one of its threads, which a restart could not find by that, are refused, and those that others have which do
// not inherit them from it.
void identify(TableCapture& table, const Seen& seen, image::FileIdentity& file);

// Whether it is such a file in /proc, which a restart opens as its own.
bool is_own_in_proc(const TableCapture& table, const Seen& seen);

// Of one in /proc of the process that has it open, that process.
Opener opener_of(const image::FileIdentity& file);

// The content is made by the kernel when it is read.
bool is_generated(int descriptor);

// Throws Damaged for an identity that cannot be.
void check_identity(const image::FileIdentity& file);

// Compares a regular file with what it is now. `written`: the program has it open for writing, so that it may have
// grown. Throws an Error that says what changed (replaced, shorter, changed) unless options.changed_files accepts it;
// then, and for harmless changes, `notes` gets a sentence if it is given.
void compare_file(const image::FileIdentity& file, const struct stat& now, bool written, const RestartOptions& options,
                  std::vector<std::string>* notes);

}  // namespace crs::engine
