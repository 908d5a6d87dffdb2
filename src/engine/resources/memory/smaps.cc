#include "engine/resources/memory/smaps.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "base/io.h"
#include "engine/procfs/text.h"

namespace crs::engine {
namespace {

// The value of a line "KEY:   VALUE", or nothing if it has another key.
std::optional<std::string_view> value_of(std::string_view line, std::string_view key) {
  if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':') return std::nullopt;
  line.remove_prefix(key.size() + 1);
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  return line;
}

std::uint64_t leading_number(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Lines of an area begin with its address in lower-case hexadecimal, those with its details with a capital letter.
bool is_detail(std::string_view line) { return line.empty() || (line.front() >= 'A' && line.front() <= 'Z'); }

void add_detail(MappedArea& area, std::string_view line) {
  if (const auto flags = value_of(line, "VmFlags")) {
    area.flags = fmt::format(" {} ", *flags);
  } else if (const auto key = value_of(line, "ProtectionKey")) {
    area.protection_key = static_cast<unsigned>(leading_number(*key));
  } else if (const auto page = value_of(line, "KernelPageSize")) {
    area.page_bytes = leading_number(*page) * 1024;
  } else if (const auto swapped = value_of(line, "Swap")) {
    area.swapped_bytes = leading_number(*swapped) * 1024;
  } else if (const auto anonymous = value_of(line, "Anonymous")) {
    area.anonymous_bytes = leading_number(*anonymous) * 1024;
  } else if (line.starts_with("Shared_")) {
    for (const std::string_view counted : {"Shared_Clean", "Shared_Dirty"}) {
      if (const auto common = value_of(line, counted)) area.common_bytes += leading_number(*common) * 1024;
    }
  }
}

constexpr std::string_view kTracked = " uw ";
constexpr std::string_view kHidden = " UW ";  // the kernel's codes are in lower case

void replace_code(std::string& flags, std::string_view code, std::string_view by) {
  const std::size_t at = flags.find(code);
  if (at != std::string::npos) flags.replace(at, code.size(), by);
}

// Without the marks of hidden tracking and of pages written to (soft-dirty), and without what tells only that there are
// guard pages, which the pages themselves tell as well.
std::string settings_of(std::string flags, bool with_account) {
  for (const std::string_view code : {kHidden, std::string_view(" sd "), std::string_view(" gu "),
                                      std::string_view(" rd "), std::string_view(" wr "), std::string_view(" ex ")})
    replace_code(flags, code, " ");
  if (!with_account) replace_code(flags, " ac ", " ");
  return flags;
}

}  // namespace

// Asked for some thousand times of each process.
bool MappedArea::has(std::string_view code) const {
  for (std::size_t at = flags.find(code); at != std::string::npos; at = flags.find(code, at + 1)) {
    const std::size_t end = at + code.size();
    if (at > 0 && flags[at - 1] == ' ' && end < flags.size() && flags[end] == ' ') return true;
  }
  return false;
}

void MappedArea::hide_tracking() { replace_code(flags, kTracked, kHidden); }

void MappedArea::show_tracking() { replace_code(flags, kHidden, kTracked); }

bool MappedArea::has_same_settings(const MappedArea& other) const {
  const bool with_account = protection == other.protection;  // mprotect(2) makes an area count
  return settings_of(flags, with_account) == settings_of(other.flags, with_account) &&
         protection_key == other.protection_key && page_bytes == other.page_bytes;
}

std::vector<MappedArea> parse_smaps(std::string_view text) {
  std::vector<MappedArea> areas;
  for_each_line(text, [&](std::string_view line) {
    if (!is_detail(line)) {
      areas.emplace_back();
      static_cast<MapsLine&>(areas.back()) = parse_maps_line(line);
    } else if (!areas.empty()) {
      add_detail(areas.back(), line);
    }
  });
  return areas;
}

std::vector<MappedArea> read_smaps(pid_t pid) { return parse_smaps(read_file(fmt::format("/proc/{}/smaps", pid))); }

}  // namespace crs::engine
