#include "engine/resources/memory/maps.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

// Takes fields off the front of a line.
class Fields {
 public:
  explicit Fields(std::string_view line) : line_(line), rest_(line) {}

  std::uint64_t number(int base, char end) {
    std::uint64_t value = 0;
    const auto [stop, problem] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value, base);
    rest_.remove_prefix(static_cast<std::size_t>(stop - rest_.data()));
    if (problem != std::errc{} || rest_.empty() || rest_.front() != end) not_understood();
    rest_.remove_prefix(1);
    return value;
  }
  std::string_view word(std::size_t length) {
    if (rest_.size() <= length || rest_[length] != ' ') not_understood();
    const std::string_view word = rest_.substr(0, length);
    rest_.remove_prefix(length + 1);
    return word;
  }
  // What is left behind any number of spaces.
  std::string_view rest() const {
    const std::size_t start = rest_.find_first_not_of(' ');
    return start == std::string_view::npos ? std::string_view() : rest_.substr(start);
  }

 private:
  [[noreturn]] void not_understood() const { fail(ErrorKind::Failed, "a line of /proc/PID/maps is not understood: {}", line_); }
  std::string_view line_;
  std::string_view rest_;
};

MapsLine parse_line(std::string_view line) {
  Fields fields(line);
  MapsLine area;
  area.range.start.value = fields.number(16, '-');
  area.range.end.value = fields.number(16, ' ');
  const std::string_view permissions = fields.word(4);
  if (permissions[0] == 'r') area.protection |= PROT_READ;
  if (permissions[1] == 'w') area.protection |= PROT_WRITE;
  if (permissions[2] == 'x') area.protection |= PROT_EXEC;
  area.shared = permissions[3] == 's';
  area.offset = fields.number(16, ' ');
  const auto major = static_cast<unsigned>(fields.number(16, ':'));
  const auto minor = static_cast<unsigned>(fields.number(16, ' '));
  area.device = makedev(major, minor);
  area.inode = fields.number(10, ' ');
  area.name = fields.rest();
  return area;
}

template <typename Action>
void for_each_line(std::string_view text, Action action) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    action(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

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
  } else if (const auto swapped = value_of(line, "Swap")) {
    area.swapped_bytes = leading_number(*swapped) * 1024;
  }
}

}  // namespace

bool MappedArea::has(std::string_view code) const { return flags.find(fmt::format(" {} ", code)) != std::string::npos; }

std::vector<MapsLine> parse_maps(std::string_view text) {
  std::vector<MapsLine> areas;
  for_each_line(text, [&](std::string_view line) { areas.push_back(parse_line(line)); });
  return areas;
}

std::vector<MappedArea> parse_smaps(std::string_view text) {
  std::vector<MappedArea> areas;
  for_each_line(text, [&](std::string_view line) {
    if (!is_detail(line)) {
      areas.emplace_back();
      static_cast<MapsLine&>(areas.back()) = parse_line(line);
    } else if (!areas.empty()) {
      add_detail(areas.back(), line);
    }
  });
  return areas;
}

std::vector<MapsLine> read_maps(pid_t pid) { return parse_maps(read_file(fmt::format("/proc/{}/maps", pid))); }
std::vector<MappedArea> read_smaps(pid_t pid) { return parse_smaps(read_file(fmt::format("/proc/{}/smaps", pid))); }

}  // namespace crs::engine
