#include "engine/procfs/status.h"

#include <cerrno>
#include <charconv>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

}  // namespace

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
  std::string_view rest = text_;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.starts_with(name) && line.size() > name.size() && line[name.size()] == ':') {
      return trimmed(line.substr(name.size() + 1));
    }
  }
  return std::nullopt;
}

std::vector<std::uint64_t> ProcessStatus::numbers(std::string_view name, int base) const {
  const std::optional<std::string_view> found = field(name);
  if (!found) fail(ErrorKind::Failed, "this kernel's /proc/PID/status has no line {}", name);
  std::vector<std::uint64_t> values;
  std::string_view rest = *found;
  while (!rest.empty()) {
    if (rest.starts_with("0x")) rest.remove_prefix(2);
    std::uint64_t value = 0;
    const auto [stop, problem] = std::from_chars(rest.data(), rest.data() + rest.size(), value, base);
    if (problem != std::errc{})
      fail(ErrorKind::Failed, "cannot read the line {} of /proc/PID/status: '{}'", name, *found);
    values.push_back(value);
    rest = trimmed(rest.substr(static_cast<std::size_t>(stop - rest.data())));
  }
  return values;
}

std::uint64_t ProcessStatus::number(std::string_view name, int base) const {
  const std::vector<std::uint64_t> values = numbers(name, base);
  if (values.empty()) fail(ErrorKind::Failed, "the line {} of /proc/PID/status is empty", name);
  return values.front();
}

pid_t innermost_id(pid_t id) {
  const std::vector<std::uint64_t> ids = ProcessStatus::of(id).numbers("NSpid");
  if (ids.empty()) fail(ErrorKind::Failed, "the line NSpid of /proc/{}/status is empty", id);
  return static_cast<pid_t>(ids.back());
}

}  // namespace crs::engine
