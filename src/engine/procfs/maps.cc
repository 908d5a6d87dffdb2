#include "engine/procfs/maps.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/text.h"

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
  [[noreturn]] void not_understood() const {
    fail(ErrorKind::Failed, "a line of /proc/PID/maps is not understood: {}", line_);
  }
  std::string_view line_;
  std::string_view rest_;
};

}  // namespace

MapsLine parse_maps_line(std::string_view line) {
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

std::vector<MapsLine> parse_maps(std::string_view text) {
  std::vector<MapsLine> areas;
  for_each_line(text, [&](std::string_view line) { areas.push_back(parse_maps_line(line)); });
  return areas;
}

std::vector<MapsLine> read_maps(pid_t pid) { return parse_maps(read_file(fmt::format("/proc/{}/maps", pid))); }

std::optional<MapsLine> find_line(const std::vector<MapsLine>& lines, std::string_view name) {
  const auto found = std::ranges::find(lines, name, &MapsLine::name);
  return found == lines.end() ? std::nullopt : std::optional(*found);
}

std::optional<MapsLine> find_line(const std::vector<MapsLine>& lines, RemoteAddress address) {
  const auto found = std::ranges::find_if(lines, [&](const MapsLine& line) { return line.range.contains(address); });
  return found == lines.end() ? std::nullopt : std::optional(*found);
}

}  // namespace crs::engine
