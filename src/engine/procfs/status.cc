#include "engine/procfs/status.h"

#include <cerrno>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/text.h"

namespace crs::engine {

std::string read_task_file(pid_t id, std::string_view name) {
  try {
    return read_file(fmt::format("/proc/{}/{}", id, name));
  } catch (const Error& error) {
    const bool gone = error.error_number() == ENOENT || error.error_number() == ESRCH;
    if (gone && ::access(fmt::format("/proc/{}/status", id).c_str(), F_OK) != 0) {
      fail(ErrorKind::ProgramGone, "process or thread {} ended meanwhile", id);
    }
    throw;
  }
}

ProcessStatus ProcessStatus::of(pid_t id) { return ProcessStatus(read_task_file(id, "status")); }

std::optional<std::string_view> ProcessStatus::field(std::string_view name) const {
  std::optional<std::string_view> found;
  for_each_line(text_, [&](std::string_view line) {
    if (!found && line.starts_with(name) && line.size() > name.size() && line[name.size()] == ':') {
      found = trimmed(line.substr(name.size() + 1));
    }
  });
  return found;
}

std::vector<std::uint64_t> ProcessStatus::numbers(std::string_view name, int base) const {
  const std::optional<std::string_view> found = field(name);
  if (!found) fail(ErrorKind::Failed, "this kernel's /proc/PID/status has no line {}", name);
  std::vector<std::uint64_t> values;
  for (std::string_view word : words_of(*found)) {
    if (word.starts_with("0x")) word.remove_prefix(2);
    const std::optional<std::uint64_t> value = parse_number(word, base);
    if (!value) fail(ErrorKind::Failed, "cannot read the line {} of /proc/PID/status: '{}'", name, *found);
    values.push_back(*value);
  }
  return values;
}

std::uint64_t ProcessStatus::number(std::string_view name, int base) const {
  const std::vector<std::uint64_t> values = numbers(name, base);
  if (values.empty()) fail(ErrorKind::Failed, "the line {} of /proc/PID/status is empty", name);
  return values.front();
}

pid_t innermost_id(pid_t id) { return innermost_id(ProcessStatus::of(id)); }

pid_t innermost_id(const ProcessStatus& status) {
  const std::vector<std::uint64_t> ids = status.numbers("NSpid");
  if (ids.empty()) fail(ErrorKind::Failed, "the line NSpid of /proc/PID/status is empty");
  return static_cast<pid_t>(ids.back());
}

}  // namespace crs::engine
