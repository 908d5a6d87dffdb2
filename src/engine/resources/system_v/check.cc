#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/memory/address_space.h"
#include "engine/resources/memory/huge_pages.h"
#include "engine/resources/system_v/objects.h"
#include "engine/resources/system_v/system_v.h"

namespace crs::engine {
namespace {

void check_object(const image::SystemVObject& object, std::set<int>& ids) {
  constexpr unsigned kRights = 0777;
  if (object.id() < 0 || object.mode() > kRights || !ids.insert(object.id()).second)
    fail(ErrorKind::Damaged, "the image holds a System V object {}, which cannot be", object.id());
}

// semget(2): SEMMSL is at most that, and SEMVMX.
constexpr int kMostSemaphores = 0xffff;
constexpr std::uint32_t kHighestValue = 32767;

void check_semaphores(const image::SemaphoreSet& set, std::set<int>& ids) {
  check_object(set.object(), ids);
  bool sound = set.semaphores_size() > 0 && set.semaphores_size() <= kMostSemaphores;
  for (const image::Semaphore& semaphore : set.semaphores()) sound = sound && semaphore.value() <= kHighestValue;
  if (!sound) fail(ErrorKind::Damaged, "the image's System V semaphore set {} cannot be", set.object().id());
}

void check_queue(const image::MessageQueue& queue, std::set<int>& ids) {
  check_object(queue.object(), ids);
  for (const image::SystemVMessage& message : queue.messages()) {
    if (message.type() <= 0)
      fail(ErrorKind::Damaged, "the image's System V message queue {} has a message that cannot be",
           queue.object().id());
  }
}

void check_adjustments(const image::Process& process, const image::SystemV& system_v) {
  for (const image::SemaphoreAdjustment& adjustment : process.adjustments()) {
    const auto set = std::ranges::find(system_v.semaphores(), adjustment.set(),
                                       [](const image::SemaphoreSet& one) { return one.object().id(); });
    const bool sound = set != system_v.semaphores().end() &&
                       adjustment.semaphore() < static_cast<std::uint32_t>(set->semaphores_size()) &&
                       adjustment.amount() != 0 && adjustment.amount() >= -static_cast<int>(kHighestValue) - 1 &&
                       adjustment.amount() <= static_cast<int>(kHighestValue);
    if (!sound) fail(ErrorKind::Damaged, "process {} has a semaphore adjustment that cannot be", process.pid());
  }
}

// In pages, of which it takes the last one as a whole.
std::uint64_t whole_size_of(const image::SharedSegment& segment) {
  const std::uint64_t page_bytes = segment.huge_page_bytes() != 0 ? segment.huge_page_bytes() : kPageSize;
  return (segment.size() + page_bytes - 1) / page_bytes * page_bytes;
}

// What a process maps is a segment of the image, the same one under the same number in all of them.
class MappedSegments {
 public:
  explicit MappedSegments(const image::SystemV& image) {
    for (const image::SharedSegment& segment : image.segments()) segments_[segment.object().id()] = &segment;
  }

  void check(const image::SharedMemory& memory) {
    const int id = memory.has_segment() ? memory.segment() : kNone;
    const auto [known, is_new] = by_object_.try_emplace(memory.object(), id);
    const bool ours = id == kNone || known->first != 0;
    if (!ours || known->second != id) fail_here(id);
    if (id == kNone) return;
    const auto segment = segments_.find(id);
    if (segment == segments_.end() || memory.size() > whole_size_of(*segment->second)) fail_here(id);
    if (memory.huge_page_bytes() != segment->second->huge_page_bytes()) fail_here(id);
    const auto [object, first] = by_segment_.try_emplace(id, memory.object());
    if (!first && object->second != memory.object()) fail_here(id);
  }

 private:
  static constexpr int kNone = -1;

  [[noreturn]] static void fail_here(int id) {
    fail(ErrorKind::Damaged, "the image's memory does not fit System V segment {}", id);
  }

  std::map<int, const image::SharedSegment*> segments_;
  std::map<std::uint32_t, int> by_object_;
  std::map<int, std::uint32_t> by_segment_;
};

// How many huge pages its content takes. Read, since a copy of the store may have no holes.
std::uint64_t pages_with_data(const ContentStore& content, const image::SharedSegment& segment) {
  const FileDescriptor file = content.open(segment.content());
  std::vector<std::byte> piece(std::size_t{64} << 10);  // of any huge page
  std::set<std::uint64_t> pages;
  for (std::uint64_t position = 0; position < segment.size(); position += piece.size()) {
    const off_t data = ::lseek(file.get(), static_cast<off_t>(position), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    if (data > 0) position = std::max(position, static_cast<std::uint64_t>(data) / piece.size() * piece.size());
    const std::uint64_t bytes = std::min<std::uint64_t>(piece.size(), segment.size() - position);
    pread_exact(file.get(), segment.content(), std::span(piece).first(bytes), position);
    if (!is_zero(std::span(piece).first(bytes))) pages.insert(position / segment.huge_page_bytes());
  }
  return pages.size();
}

}  // namespace

std::map<std::uint64_t, std::uint64_t> huge_pages_of_segments(const ContentStore& content,
                                                              const image::SystemV& image) {
  HugeMemory demand;
  for (const image::SharedSegment& segment : image.segments()) {
    if (segment.huge_page_bytes() == 0) continue;
    // One that the killed program has left is removed first. What has its id but is another is an error by itself.
    const auto left = segment_at(segment.object().id());
    const bool is_left = left && left->id == segment.object().id() && left->state.shm_segsz == segment.size();
    if (is_left || segment.content().empty()) continue;
    demand[segment.huge_page_bytes()] += pages_with_data(content, segment) * segment.huge_page_bytes();
  }
  return demand;
}

void check_system_v(const CheckContext& context, const image::Tree& image) {
  std::set<int> ids;
  std::set<int> ids_of_semaphores;
  std::set<int> ids_of_queues;
  for (const image::SharedSegment& segment : image.system_v().segments()) {
    check_object(segment.object(), ids);
    if (segment.size() == 0 || segment.size() > kAddressLimit.value)
      fail(ErrorKind::Damaged, "the image holds a System V segment of {} bytes", segment.size());
    if (segment.huge_page_bytes() != 0 && !is_huge_page_size(segment.huge_page_bytes()))
      fail(ErrorKind::Damaged, "the image holds a System V segment of pages of {} bytes", segment.huge_page_bytes());
    if (!segment.content().empty()) static_cast<void>(context.content.open(segment.content()));
  }
  for (const image::SemaphoreSet& set : image.system_v().semaphores()) check_semaphores(set, ids_of_semaphores);
  for (const image::MessageQueue& queue : image.system_v().queues()) check_queue(queue, ids_of_queues);
  for (const image::Process& process : image.processes()) check_adjustments(process, image.system_v());
  MappedSegments mapped(image.system_v());
  for (const image::Process& process : image.processes()) {
    for (const image::SharedMemory& memory : process.memory().shared()) mapped.check(memory);
  }
}

}  // namespace crs::engine
