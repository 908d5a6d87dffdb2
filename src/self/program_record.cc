#include "self/program_record.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

#include "base/error.h"
#include "base/io.h"
#include "framework/process_facts.h"

namespace crs::self {
namespace {

// Texts, each with a NUL at its end: this, "reports" or nothing, the executable, the working directory, the arguments.
constexpr std::string_view kRecordMagic = "crs-self-program 1";
constexpr std::string_view kReports = "reports";
constexpr std::size_t kLargestRecord = std::size_t{8} << 20;

void append(std::string& bytes, const std::string& text) {
  if (text.find('\0') != std::string::npos) fail(ErrorKind::Failed, "the restart command has a NUL in it");
  bytes += text;
  bytes += '\0';
}

// What a link of /proc/self leads to, by the name that it has or had. proc_pid_exe(5): " (deleted)" follows the name of
// what was removed, or replaced; a file may be called so, too.
std::string name_behind(const char* link) {
  constexpr std::string_view kRemoved = " (deleted)";
  std::string name = read_link(link);
  if (!name.ends_with(kRemoved)) return name;
  struct stat behind{};
  struct stat named{};
  const bool is_called_so = ::stat(link, &behind) == 0 && ::stat(name.c_str(), &named) == 0 &&
                            behind.st_dev == named.st_dev && behind.st_ino == named.st_ino;
  if (!is_called_so) name.resize(name.size() - kRemoved.size());
  return name;
}

}  // namespace

ProgramRecord record_of_this_process() {
  ProgramRecord record;
  // Not the first argument, which may be relative to another directory, or anything.
  record.executable = name_behind("/proc/self/exe");
  record.arguments = command_line_of(::getpid());
  record.working_directory = name_behind("/proc/self/cwd");
  if (record.arguments.empty()) fail(ErrorKind::Failed, "the program has hidden its command line");
  return record;
}

void check_can_start(const ProgramRecord& record, const ProgramRecord& own) {
  const auto gone = [](std::string_view what, const std::string& path) {
    throw Error(ErrorKind::Failed, fmt::format("the program's {} {} is gone, and a restart needs it", what, path))
        .advise("Put it back, or have the program name another in its restart command");
  };
  struct stat status{};
  const std::string& directory = record.working_directory;
  const bool is_directory = ::stat(directory.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
  if (directory == own.working_directory && !is_directory) gone("working directory", directory);
  const std::string& executable = record.executable;
  if (executable == own.executable && ::access(executable.c_str(), X_OK) != 0) gone("executable", executable);
}

void write_program_record(const std::string& path, const ProgramRecord& record) {
  std::string bytes;
  append(bytes, std::string(kRecordMagic));
  append(bytes, record.reports ? std::string(kReports) : "");
  append(bytes, record.executable);
  append(bytes, record.working_directory);
  for (const std::string& argument : record.arguments) append(bytes, argument);
  if (bytes.size() > kLargestRecord) fail(ErrorKind::Failed, "the restart command has {} bytes", bytes.size());
  const FileDescriptor file = open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
  write_all(file.get(), path, as_byte_span(bytes));
}

ProgramRecord read_program_record(const std::string& path) {
  const FileDescriptor file = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  const std::string bytes = read_file(file.get(), path, kLargestRecord);
  std::vector<std::string> texts;
  for (std::size_t begin = 0; begin < bytes.size();) {
    const std::size_t end = bytes.find('\0', begin);
    if (end == std::string::npos) fail(ErrorKind::Damaged, "{} ends in the middle of a text", path);
    texts.push_back(bytes.substr(begin, end - begin));
    begin = end + 1;
  }
  const bool is_record = texts.size() >= 5 && texts[0] == kRecordMagic && (texts[1].empty() || texts[1] == kReports) &&
                         !texts[2].empty() && texts[3].starts_with('/');
  if (!is_record) fail(ErrorKind::Damaged, "{} says of no program how it is started", path);
  return {texts[2], {texts.begin() + 4, texts.end()}, texts[3], texts[1] == kReports};
}

}  // namespace crs::self
