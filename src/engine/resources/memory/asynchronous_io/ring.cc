#include "engine/resources/memory/asynchronous_io/ring.h"

#include <algorithm>
#include <sstream>
#include <string>

#include "base/io.h"

namespace crs::engine {
namespace {

constexpr std::uint32_t kMagic = 0xa10a10a1;
constexpr std::uint32_t kCompatible = 1;  // features

// The numbers of processors, "0-3" or "0,2-7".
std::uint64_t possible_processors() {
  const std::string text = read_file("/sys/devices/system/cpu/possible");
  std::uint64_t count = 0;
  std::istringstream ranges(text);
  for (std::string range; std::getline(ranges, range, ',');) {
    const auto dash = range.find('-');
    const auto first = std::stoull(range);
    count += (dash == std::string::npos ? first : std::stoull(range.substr(dash + 1))) - first + 1;
  }
  return count;
}

}  // namespace

std::uint64_t capacity_in(std::uint64_t bytes) {
  const std::uint64_t all = slots_in(bytes) - 1;
  return all - all % std::max<std::uint64_t>(all / (possible_processors() * 4), 1);
}

bool Ring::is_known() const {
  if (range_.size() < kPageSize) return false;
  const RingHeader known = header();
  return known.magic == kMagic && known.compatible_features == kCompatible && known.incompatible_features == 0 &&
         known.header_bytes == sizeof(RingHeader) && known.slots == slots_ && known.head < slots_ &&
         known.tail < slots_;
}

std::uint64_t Ring::unread() const {
  const RingHeader now = header();
  return (now.tail % slots_ + slots_ - now.head % slots_) % slots_;
}

std::vector<io_event> Ring::answers() const {
  const std::uint64_t head = header().head;
  std::vector<io_event> events(unread());
  for (std::size_t i = 0; i < events.size(); ++i) events[i] = memory_.read_value<io_event>(place_of(head + i));
  return events;
}

}  // namespace crs::engine
