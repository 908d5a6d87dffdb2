#include "framework/process_facts.h"

#include <filesystem>

#include "base/error.h"
#include "base/io.h"

namespace crs {
namespace {

std::string link_or_nothing(const std::string& path) {
  try {
    return read_link(path);
  } catch (const Error&) {
    return {};
  }
}

std::uint32_t count_threads(pid_t pid) {
  std::error_code problem;
  std::uint32_t count = 0;
  for (std::filesystem::directory_iterator entry(fmt::format("/proc/{}/task", pid), problem), end;
       !problem && entry != end; entry.increment(problem)) {
    ++count;
  }
  return count;
}

}  // namespace

std::vector<std::string> command_line_of(pid_t pid) {
  std::string bytes;
  try {
    bytes = read_file(fmt::format("/proc/{}/cmdline", pid), std::size_t{8} << 20);
  } catch (const Error&) {
    return {};
  }
  std::vector<std::string> arguments;
  for (std::size_t begin = 0; begin < bytes.size();) {
    const std::size_t end = std::min(bytes.find('\0', begin), bytes.size());
    arguments.push_back(bytes.substr(begin, end - begin));
    begin = end + 1;
  }
  return arguments;
}

void fill_in_process(SnapshotContents& contents, pid_t pid) {
  if (contents.pid == 0) contents.pid = pid;
  if (contents.threads == 0) contents.threads = count_threads(pid);
  if (contents.executable.empty()) contents.executable = link_or_nothing(fmt::format("/proc/{}/exe", pid));
  if (contents.command_line.empty()) contents.command_line = command_line_of(pid);
  if (contents.working_directory.empty())
    contents.working_directory = link_or_nothing(fmt::format("/proc/{}/cwd", pid));
}

}  // namespace crs
