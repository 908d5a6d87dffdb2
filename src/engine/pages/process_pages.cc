#include "engine/pages/process_pages.h"

#include <algorithm>

#include "base/parallel.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kMostForOneReader = std::uint64_t{4} << 20;

}  // namespace

void ProcessPages::continue_from(EarlierPages earlier, TrackedProcess tracked) {
  precopy_.emplace(tracked.pid, writer_);
  precopy_->continue_from(std::move(earlier), std::move(tracked.userfault), std::move(tracked.areas));
}

std::string ProcessPages::copy_ahead(pid_t pid, const std::vector<PageArea>& areas,
                                     const Precopy::StopBriefly& stop_briefly, std::uint64_t least) {
  if (!precopy_) precopy_.emplace(pid, writer_);
  std::string obstacle = precopy_->run(areas, stop_briefly, least);
  if (held_memory_ == nullptr) {
    own_held_memory_ = std::make_unique<HeldMemory>(budget_.most_held);
    held_memory_ = own_held_memory_.get();
  }
  held_.emplace(*held_memory_);
  return obstacle;
}

void ProcessPages::catch_up(const Precopy::StopBriefly& stop_briefly) {
  if (!precopy_) return;
  precopy_->catch_up(stop_briefly);
  // What of much memory was written meanwhile may become twice as much until the program stands still.
  held_memory_->expect(precopy_->tracks() ? precopy_->expected() * 2 : precopy_->expected() / 8 * 9);
}

// By what there is to be read: the areas of which all pages exist are known by their sizes, the others by what was
// there when the program still ran.
bool ProcessPages::twin_is_cheaper(std::span<const PageArea> rest) const {
  if (std::ranges::none_of(rest, &PageArea::in_fork)) return false;
  std::uint64_t bytes = precopy_->expected_outside();
  for (const PageArea& area : rest)
    bytes += area.choice == PageChoice::Existing && area.in_fork ? area.range.size() : 0;
  const std::uint64_t room = held_memory_->left();
  if (bytes <= room) return false;
  return static_cast<double>(bytes - room) * budget_.seconds_per_byte_written >
         budget_.seconds_per_fork + static_cast<double>(precopy_->total()) * budget_.seconds_per_byte_forked;
}

void ProcessPages::leave_to_twin(std::vector<PageArea>& rest, RemoteRange scratch) {
  std::vector<PageArea> now;
  for (PageArea area : rest) {
    const RemoteRange all = area.range;
    const PageRuns not_there = area.in_fork ? common_parts(all, std::span(&scratch, 1)) : PageRuns{all};
    for (const RemoteRange& part : not_there) {
      if (area.choice != PageChoice::Given) area.range = part;
      now.push_back(area);
    }
    for (const RemoteRange& part : other_parts(all, not_there)) {
      area.range = part;
      area.copied_on_write = true;  // by the program, and by the twin if it were read otherwise
      left_to_twin_.push_back(area);
    }
  }
  rest = std::move(now);
}

// How many threads read what is left: as many as keep the disk busy (0; all the processors, too, where the program
// stands still until it is written), unless it is only read. Little is read sooner than a second thread begins.
unsigned ProcessPages::readers() const {
  if (!precopy_) return threads_for_disk_alone();
  if (twin_) return 0;
  return precopy_->expected() <= kMostForOneReader ? 1 : precopy_->expected() <= budget_.most_held ? 2 : 0;
}

void ProcessPages::take(const RemoteMemory& source, const std::vector<PageArea>& areas, const MakeTwin& make_twin) {
  PageRuns guards;
  std::vector<PageArea> rest = precopy_ ? precopy_->remaining(areas, guards) : areas;
  if (precopy_ && make_twin && twin_is_cheaper(rest)) {
    RemoteRange scratch;
    twin_ = make_twin(scratch);
    if (twin_) leave_to_twin(rest, scratch);
  }
  saved_ += save_page_areas(source, rest, writer_, process_, readers(), held_ ? &*held_ : nullptr);
  for (const RemoteRange& guard : guards) saved_.guards.push_back(guard);
}

SavedPages ProcessPages::finish(TrackedProcess* tracked) {
  if (twin_) {
    saved_ += save_page_areas(RemoteMemory(twin_->pid()), left_to_twin_, writer_, process_);
    twin_.reset();
  }
  if (precopy_ && tracked != nullptr) {
    saved_.pages += precopy_->finish(process_, tracked->userfault, tracked->areas);
  } else if (precopy_) {
    saved_.pages += precopy_->finish(process_);
  }
  if (held_) saved_ += held_->write(writer_, process_);
  return std::move(saved_);
}

}  // namespace crs::engine
