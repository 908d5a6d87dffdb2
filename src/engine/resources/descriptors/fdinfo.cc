#include "engine/resources/descriptors/fdinfo.h"

#include <charconv>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view trimmed(std::string_view text) {
  const std::size_t start = text.find_first_not_of(kBlanks);
  if (start == std::string_view::npos) return {};
  return text.substr(start, text.find_last_not_of(kBlanks) - start + 1);
}

}  // namespace

std::optional<std::uint64_t> parse_number(std::string_view text, int base) {
  text = trimmed(text);
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, number, base);
  if (problem != std::errc{} || stop != end) return std::nullopt;
  return number;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    const std::size_t start = line.find_first_not_of(kBlanks);
    if (start == std::string_view::npos) return words;
    const std::size_t end = std::min(line.find_first_of(kBlanks, start), line.size());
    words.push_back(line.substr(start, end - start));
    line.remove_prefix(end);
  }
}

FdInfo::FdInfo(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    lines_.emplace_back(trimmed(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
  }
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

}  // namespace crs::engine
