#include "self/program_record.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
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

// Of a file or directory that a restart executes or enters.
void require_usable(std::string_view what, const std::string& path, mode_t kind) {
  struct stat status{};
  int problem = ::stat(path.c_str(), &status) == 0 ? 0 : errno;
  if (problem == 0 && (status.st_mode & S_IFMT) != kind) problem = ENOENT;
  if (problem == 0 && ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0) problem = errno;
  if (problem == 0) return;
  const std::string needed = fmt::format("the program's {} {}, which a restart needs, {}", what, path,
                                         problem == ENOENT ? "is gone" : "cannot be used");
  throw(problem == ENOENT ? Error(ErrorKind::Failed, needed) : Error::from_errno(needed, problem))
      .advise("Put it back, or have the program name another in its restart command");
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
  if (record.working_directory == own.working_directory)
    require_usable("working directory", record.working_directory, S_IFDIR);
  if (record.executable == own.executable) require_usable("executable", record.executable, S_IFREG);
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
