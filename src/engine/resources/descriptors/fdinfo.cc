#include "engine/resources/descriptors/fdinfo.h"

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {

FdInfo::FdInfo(std::string_view text) {
  for_each_line(text, [&](std::string_view line) {
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos)
      lines_.emplace_back(trimmed(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
  });
}

FdInfo FdInfo::of(pid_t pid, int number) { return FdInfo(read_file(fmt::format("/proc/{}/fdinfo/{}", pid, number))); }

std::optional<std::string_view> FdInfo::find(std::string_view key) const {
  for (const auto& [name, value] : lines_) {
    if (name == key) return value;
  }
  return std::nullopt;
}

std::vector<std::string_view> FdInfo::all(std::string_view key) const {
  std::vector<std::string_view> values;
  for (const auto& [name, value] : lines_) {
    if (name == key) values.push_back(value);
  }
  return values;
}

std::uint64_t FdInfo::number(std::string_view key, int base) const {
  const std::optional<std::string_view> value = find(key);
  if (!value) fail(ErrorKind::Failed, "this kernel's /proc/PID/fdinfo has no line '{}'", key);
  const std::optional<std::uint64_t> result = parse_number(*value, base);
  if (!result) fail(ErrorKind::Failed, "cannot understand '{}: {}' in /proc/PID/fdinfo", key, *value);
  return *result;
}

std::uint64_t FdInfo::position() const {
  const std::string_view value = find("pos").value_or("");
  if (!value.starts_with('-')) return number("pos");
  const std::optional<std::uint64_t> below = parse_number(value.substr(1));
  if (!below) fail(ErrorKind::Failed, "cannot understand 'pos: {}' in /proc/PID/fdinfo", value);
  return ~*below + 1;
}

}  // namespace crs::engine
