#include "cli/memory_ranges.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace crs::cli {
namespace {

std::optional<std::uint64_t> parse_address(std::string_view text) {
  if (text.starts_with("0x") || text.starts_with("0X")) text.remove_prefix(2);
  std::uint64_t address = 0;
  const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), address, 16);
  if (problem != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return address;
}

bool holds_a_page(std::uint64_t start, std::uint64_t end) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return (start + page - 1) / page < end / page;
}

}  // namespace

MemoryRange parse_memory_range(const std::string& text) {
  const std::string_view all(text);
  const std::size_t middle = all.find('-');
  const auto start = parse_address(all.substr(0, middle));
  const auto end = middle == std::string_view::npos ? std::nullopt : parse_address(all.substr(middle + 1));
  if (start && end && *start < *end) {
    if (!holds_a_page(*start, *end))
      throw Error(ErrorKind::Usage, fmt::format("'{}' holds no whole page, and only those can be left out", text));
    return {*start, *end};
  }
  throw Error(ErrorKind::Usage, fmt::format("'{}' is no range of addresses", text))
      .advise("Give START-END in hexadecimal digits, as in /proc/PID/maps; END is the first address that is not in it");
}

std::string text_of(const MemoryRange& range) { return fmt::format("{:x}-{:x}", range.start, range.end); }

}  // namespace crs::cli
