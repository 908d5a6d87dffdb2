#include "engine/pages/precopy.h"

#include <algorithm>
#include <atomic>
#include <iterator>

#include "base/error.h"
#include "base/page_buffer.h"
#include "base/parallel.h"
#include "engine/pages/page_batches.h"
#include "engine/pages/page_transfer.h"

namespace crs::engine {
namespace {

// What is left in areas too small to be tracked; each costs two system calls and a change of its kernel structure.
constexpr std::uint64_t kLeftToThePause = std::uint64_t{512} << 10;
constexpr std::size_t kMostAreas = 8192;
// Copying what was written meanwhile ends with so little of it, or when it does not become less.
constexpr std::uint64_t kNotWorthARound = std::uint64_t{2} << 20;
constexpr int kMostRounds = 8;
// The frozen program's page tables are looked at by several threads in pieces of this size.
constexpr std::uint64_t kLookAtOnce = std::uint64_t{256} << 20;

// What takes longer to copy than a thread takes to begin.
constexpr std::uint64_t kWorthThread = std::uint64_t{8} << 20;

constexpr std::uint64_t kBlockBytes = 512 * kPageSize;

std::uint64_t own_bytes(const Pagemap& pagemap, RemoteRange range) {
  std::uint64_t bytes = 0;
  PageScan scan(pagemap, range);
  for (PageRange found; scan.next(found);) bytes += found.kind == PageKind::Own ? found.range.size() : 0;
  return bytes;
}

}  // namespace

void CopyTable::set(RemoteRange run, std::uint32_t place) {
  for (RemoteAddress page = run.start; page < run.end;) {
    std::unique_ptr<Block>& block = blocks_[page.value / kBlockBytes];
    if (!block) block = std::make_unique<Block>();
    do {
      (*block)[page.value % kBlockBytes / kPageSize] = place;
      page = page + kPageSize;
    } while (page < run.end && page.value % kBlockBytes != 0);
  }
}

// Those for whose place `wanted` is true.
template <typename Wanted>
PageRuns CopyTable::parts_with(RemoteRange run, Wanted wanted) const {
  PageRuns parts;
  while (run.start < run.end) {
    const RemoteAddress end{std::min(run.end.value, (run.start.value / kBlockBytes + 1) * kBlockBytes)};
    const auto found = blocks_.find(run.start.value / kBlockBytes);
    if (found == blocks_.end()) {
      if (wanted(kNone)) append_run(parts, {run.start, end});
    } else {
      const std::uint32_t* const places = found->second->data() + run.start.value % kBlockBytes / kPageSize;
      const std::size_t pages = (end - run.start) / kPageSize;
      for (std::size_t at = 0; at < pages;) {
        const std::size_t first = at;
        const bool is_wanted = wanted(places[at]);
        while (at < pages && wanted(places[at]) == is_wanted) ++at;
        if (is_wanted) append_run(parts, {run.start + first * kPageSize, run.start + at * kPageSize});
      }
    }
    run.start = end;
  }
  return parts;
}

PageRuns CopyTable::parts(RemoteRange run, bool copied) const {
  return parts_with(run, [=](std::uint32_t place) { return (place != kNone) == copied; });
}

PageRuns CopyTable::copied() const {
  std::vector<std::uint64_t> numbers;
  numbers.reserve(blocks_.size());
  for (const auto& [number, block] : blocks_) numbers.push_back(number);
  std::ranges::sort(numbers);
  PageRuns all;
  for (const std::uint64_t number : numbers) {
    for (const RemoteRange& run : parts({{number * kBlockBytes}, {(number + 1) * kBlockBytes}}, true))
      append_run(all, run);
  }
  return all;
}

PageRuns CopyTable::parts_at(RemoteRange run, std::uint32_t wanted) const {
  return parts_with(run, [=](std::uint32_t place) { return place == wanted; });
}

void CopyTable::keep_only(const PageRuns& kept) {
  for (auto& [number, block] : blocks_) {
    const RemoteRange all{{number * kBlockBytes}, {(number + 1) * kBlockBytes}};
    for (const RemoteRange& run : other_parts(all, kept)) {
      for (RemoteAddress page = run.start; page < run.end; page = page + kPageSize)
        (*block)[page.value % kBlockBytes / kPageSize] = kNone;
    }
  }
}

// The areas that hold the most, until little is left. None of a mapped file: where a page of the program's own is given
// back there (MADV_DONTNEED), the kernel keeps the mark, and arms the file's page with it that comes in its place
// (mm/memory.c, zap_install_uffd_wp_if_needed), so that an armed page says nothing.
void Precopy::choose(const std::vector<PageArea>& areas, std::uint64_t least) {
  struct Candidate {
    const PageArea* area;
    std::uint64_t bytes = 0;
  };
  const Pagemap pagemap(pid_);
  std::vector<Candidate> candidates;
  std::uint64_t total = 0;
  for (const PageArea& area : areas) {
    Candidate candidate{&area};
    const PageRuns known = tracker_ && area.starts_zero ? common_parts(area.range, tracker_->areas()) : PageRuns{};
    for (const RemoteRange& tracked : known) candidate.bytes += pagemap.bytes_there(tracked);
    for (const RemoteRange& other : other_parts(area.range, known)) candidate.bytes += own_bytes(pagemap, other);
    total += candidate.bytes;
    if (candidate.bytes > 0 && area.starts_zero) candidates.push_back(candidate);
  }
  expected_ = outside_ = total_ = total;
  if (total < least || !pagemap.scans()) return;
  std::ranges::sort(candidates, std::ranges::greater(), &Candidate::bytes);
  for (const Candidate& candidate : candidates) {
    if (expected_ <= kLeftToThePause || chosen_.size() == kMostAreas) break;
    expected_ -= candidate.bytes;
    chosen_.push_back(*candidate.area);
  }
  std::ranges::sort(chosen_, {}, [](const PageArea& area) { return area.range.start; });
}

void Precopy::continue_from(EarlierPages earlier, FileDescriptor userfault, PageRuns areas) {
  tracker_ = std::make_unique<WriteTracker>(pid_, std::move(userfault), std::move(areas));
  const std::vector<Extent>& extents = earlier.reader->extents();
  for (const std::size_t i : earlier.extents) {
    for (const RemoteRange& run : decode_pages(extents[i].tag, extents[i].payload_bytes).runs)
      copies_.set(run, CopyTable::of_earlier(i));
  }
  earlier_ = std::move(earlier);
}

std::string Precopy::run(const std::vector<PageArea>& areas, const StopBriefly& stop_briefly, std::uint64_t least) {
  choose(areas, least);
  if (chosen_.empty()) return {};
  try {
    if (!tracker_) stop_briefly([&](BorrowedThread& borrowed) { tracker_ = std::make_unique<WriteTracker>(borrowed); });
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::ProgramGone) throw;
    chosen_.clear();
    return error.what();
  }
  std::erase_if(chosen_, [&](const PageArea& area) { return !tracker_->track(area.range); });
  if (!earlier_) {
    for (const PageArea& area : chosen_) tracker_->arm(area.range);
    stop_briefly({});
    copy(chosen_);
  }
  outside_ = expected_;
  return {};
}

void Precopy::catch_up(const StopBriefly& stop_briefly) {
  if (!tracker_) return;
  copy_written(earlier_ && !has_caught_up_ ? without_copy() : std::vector<PageArea>{}, stop_briefly);
  has_caught_up_ = true;
}

// In rounds, the first with `written` besides.
void Precopy::copy_written(std::vector<PageArea> written, const StopBriefly& stop_briefly) {
  std::uint64_t before = ~std::uint64_t{0};
  for (int round = 0; round < kMostRounds; ++round, written.clear()) {
    std::ranges::move(rearm(), std::back_inserter(written));
    std::ranges::sort(written, {}, [](const PageArea& area) { return area.range.start; });
    std::uint64_t bytes = 0;
    for (const PageArea& area : written) bytes += area.range.size();
    expected_ = outside_ + bytes;
    if (bytes <= kNotWorthARound || bytes > before / 4 * 3) break;
    before = bytes;
    stop_briefly({});
    copy(written);
  }
  copied_ = copies_.copied();
}

// What was written since it was last armed has no copy any more, whether it is copied again or not.
std::vector<PageArea> Precopy::rearm() {
  std::vector<PageArea> written;
  for (const PageArea& area : chosen_) {
    PageArea part = area;
    part.choice = PageChoice::Existing;
    for (const RemoteRange& run : tracker_->arm(area.range)) {
      copies_.set(run, CopyTable::kNone);
      part.range = run;
      written.push_back(part);
    }
  }
  return written;
}

// What has not changed since the earlier snapshot but is not in it: pages of zeros, and what was left out by wish then.
std::vector<PageArea> Precopy::without_copy() const {
  std::vector<PageArea> found;
  for (const PageArea& area : chosen_) {
    PageArea part = area;
    part.choice = PageChoice::Own;
    for (const RemoteRange& run : tracker_->look(area.range).unchanged) {
      for (const RemoteRange& missing : copies_.parts(run, false)) {
        part.range = missing;
        found.push_back(part);
      }
    }
  }
  return found;
}

void Precopy::copy(const std::vector<PageArea>& areas) {
  std::uint64_t most = 0;
  for (const PageArea& area : areas) most += area.range.size();
  Batches batches(pid_, areas);
  std::atomic<bool> failed = false;
  const auto work = [&] {
    const PageBuffer buffer(kPagePayload);
    for (Batch batch; !failed && batches.next(batch);) {
      const std::span<std::byte> bytes = buffer.first(total_bytes(batch.runs));
      const PageRuns read = batch.like.copied_on_write ? read_runs_still_there_as_they_are(memory_, batch.runs, bytes)
                                                       : read_runs_still_there(memory_, batch.runs, bytes);
      const std::span<std::byte> there = bytes.first(total_bytes(read));
      const PageRuns kept = drop_needless(batch.like, read, there);
      std::uint32_t place = CopyTable::kZeros;
      if (!kept.empty())
        place = CopyTable::of_extent(writer_.append(there.first(total_bytes(kept)), encode_runs(kept)));
      const std::scoped_lock lock(mutex_);
      for (const RemoteRange& run : read) copies_.set(run, CopyTable::kZeros);
      for (const RemoteRange& run : kept) copies_.set(run, place);
      if (!kept.empty()) extents_.push_back(place);
    }
  };
  run_in_background(telling_of_failure(failed, work),
                    static_cast<unsigned>(std::min<std::uint64_t>(most / kWorthThread + 1, threads_for_disk())));
}

// Ascending. What is tracked is in pieces that several threads can look at.
std::vector<Precopy::Part> Precopy::parts_of(const std::vector<PageArea>& areas) const {
  std::vector<Part> parts;
  for (const PageArea& area : areas) {
    const bool may_be_tracked = area.choice == PageChoice::Own && area.starts_zero;
    const PageRuns tracked = may_be_tracked ? common_parts(area.range, tracker_->areas()) : PageRuns{};
    for (const RemoteRange& range : other_parts(area.range, tracked)) parts.push_back({&area, range, false});
    for (RemoteRange range : tracked) {
      const std::uint64_t piece = std::max(kLookAtOnce, range.size() / 16 / kPageSize * kPageSize);
      while (range.size() > 0) {
        const RemoteRange first{range.start, range.start + std::min(range.size(), piece)};
        parts.push_back({&area, first, true});
        range.start = first.end;
      }
    }
  }
  std::ranges::sort(parts, {}, [](const Part& part) { return part.range.start; });
  return parts;
}

std::vector<PageArea> Precopy::remaining(const std::vector<PageArea>& areas, PageRuns& guards) {
  if (!tracker_) return areas;
  tracker_->look_anew();
  std::vector<Part> parts = parts_of(areas);
  const auto large = std::ranges::count_if(parts, [](const Part& part) { return part.range.size() >= kLookAtOnce; });
  for_each_in_parallel(
      parts.size(),
      [&](std::size_t number) {
        Part& part = parts[number];
        if (part.tracked) part.remaining = look_at(*part.area, part.range);
      },
      large > 1 ? 0 : 1);
  std::vector<PageArea> result;
  for (Part& part : parts) {
    if (part.tracked) {
      std::ranges::move(part.remaining.areas, std::back_inserter(result));
      for (const RemoteRange& run : part.remaining.valid) append_run(valid_, run);
      for (const RemoteRange& guard : part.remaining.guards) append_run(guards, guard);
    } else {
      result.push_back(*part.area);
      if (part.area->choice != PageChoice::Given) result.back().range = part.range;
    }
  }
  return result;
}

Precopy::Remaining Precopy::look_at(const PageArea& area, RemoteRange range) const {
  WriteTracker::View view = tracker_->look(range);
  Remaining remaining;
  remaining.guards = std::move(view.guards);
  const auto add = [&](const PageRuns& runs, PageChoice choice) {
    for (const RemoteRange& run : runs) {
      remaining.areas.push_back(area);
      remaining.areas.back().range = run;
      remaining.areas.back().choice = choice;
    }
  };
  for (const RemoteRange& run : view.unchanged) {
    for (const RemoteRange& part : common_parts(run, copied_)) append_run(remaining.valid, part);
    add(other_parts(run, copied_), PageChoice::Own);
  }
  add(view.changed, PageChoice::Existing);
  add(view.untracked, PageChoice::Own);
  std::ranges::sort(remaining.areas, {}, [](const PageArea& part) { return part.range.start; });
  return remaining;
}

std::uint64_t Precopy::finish(std::uint32_t process) {
  tracker_.reset();
  return settle_copies(process);
}

std::uint64_t Precopy::finish(std::uint32_t process, FileDescriptor& userfault, PageRuns& areas) {
  if (tracker_) {
    areas = tracker_->areas();
    userfault = tracker_->give_up();
    tracker_.reset();
  }
  return settle_copies(process);
}

// Takes out of the tag of the extent at `place` the pages whose newest copy is not there, and says whose the others
// are; returns how many they are.
std::uint64_t Precopy::keep_newest(std::string& tag, std::uint32_t place, std::uint32_t process) const {
  PageRuns counting;
  for (const RemoteRange& run : decode_runs(tag)) {
    for (const RemoteRange& part : copies_.parts_at(run, place)) append_run(counting, part);
  }
  tag = only_pages(tag, counting, process);
  return total_bytes(counting) / kPageSize;
}

std::uint64_t Precopy::settle_copies(std::uint32_t process) {
  copies_.keep_only(valid_);
  std::uint64_t pages = 0;
  for (const std::uint32_t place : extents_)
    pages += keep_newest(writer_.tag(CopyTable::number_of(place)), place, process);
  return pages + refer_to_earlier(process);
}

std::uint64_t Precopy::refer_to_earlier(std::uint32_t process) {
  if (!earlier_) return 0;
  std::uint64_t pages = 0;
  const std::vector<Extent>& extents = earlier_->reader->extents();
  for (const std::size_t i : earlier_->extents) {
    std::string tag = extents[i].tag;
    const std::uint64_t left = keep_newest(tag, CopyTable::of_earlier(i), process);
    if (left == 0) continue;
    writer_.refer(*earlier_->reader, earlier_->sequence, i, std::move(tag));
    pages += left;
  }
  uses_earlier_ = pages > 0;
  return pages;
}

}  // namespace crs::engine
