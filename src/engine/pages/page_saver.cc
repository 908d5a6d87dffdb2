#include "engine/pages/page_saver.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>

#include "base/parallel.h"
#include "engine/pages/page_scan.h"
#include "engine/pages/page_transfer.h"

namespace crs::engine {
namespace {

// Pages for one extent; all from areas that are read in the same way.
struct Batch {
  PageRuns runs;
  PageArea like;
};

bool read_alike(const PageArea& one, const PageArea& other) {
  return one.choice == other.choice && one.choice != PageChoice::Given && one.readable == other.readable &&
         one.starts_zero == other.starts_zero;
}

// Hands out the pages of all areas in batches, to one thread at a time.
class Batches {
 public:
  Batches(pid_t pid, std::span<const PageArea> areas) : pagemap_(pid), areas_(areas) {}

  // False: there are no more.
  bool next(Batch& batch) {
    const std::scoped_lock lock(mutex_);
    batch.runs.clear();
    for (std::uint64_t room = kPagePayload; room > 0;) {
      if (pending_.size() == 0 && !find_more()) break;
      if (!batch.runs.empty() && !read_alike(batch.like, areas_[area_])) break;
      if (batch.runs.empty()) batch.like = areas_[area_];
      const RemoteRange run{pending_.start, pending_.start + std::min(room, pending_.size())};
      append_run(batch.runs, run);
      pending_.start = run.end;
      room -= run.size();
    }
    return !batch.runs.empty();
  }

  // Once next() has said that there are no more.
  PageRuns guards() { return std::move(guards_); }

 private:
  // Fills pending_ with pages of areas_[area_], going on to the next areas as needed.
  bool find_more() {
    for (; area_ < areas_.size(); ++area_, begun_ = false, scan_.reset()) {
      if (areas_[area_].choice == PageChoice::Own ? take_own() : take_all()) return true;
    }
    return false;
  }
  bool take_all() {
    if (begun_) return false;
    begun_ = true;
    pending_ = areas_[area_].range;
    return pending_.size() > 0;
  }
  bool take_own() {
    if (!scan_) scan_.emplace(pagemap_, areas_[area_].range);
    for (PageRange found; scan_->next(found);) {
      if (found.kind == PageKind::Own) {
        pending_ = found.range;
        return true;
      }
      append_run(guards_, found.range);
    }
    return false;
  }

  std::mutex mutex_;
  Pagemap pagemap_;
  std::span<const PageArea> areas_;
  std::size_t area_ = 0;
  bool begun_ = false;
  std::optional<PageScan> scan_;
  RemoteRange pending_;  // found and not handed out yet
  PageRuns guards_;
};

bool is_zero(const std::byte* page) {
  return page[0] == std::byte{} && std::memcmp(page, page + 1, kPageSize - 1) == 0;
}

// Moves the pages that are not all zeros together and returns their runs.
PageRuns drop_zeros(const PageRuns& runs, std::vector<std::byte>& bytes) {
  PageRuns kept;
  std::byte* from = bytes.data();
  std::byte* to = bytes.data();
  for (const RemoteRange& run : runs) {
    for (RemoteAddress page = run.start; page < run.end; page = page + kPageSize, from += kPageSize) {
      if (is_zero(from)) continue;
      if (from != to) std::memcpy(to, from, kPageSize);
      to += kPageSize;
      append_run(kept, {page, page + kPageSize});
    }
  }
  bytes.resize(static_cast<std::size_t>(to - bytes.data()));
  return kept;
}

void read_batch(const RemoteMemory& source, const Batch& batch, std::vector<std::byte>& bytes) {
  bytes.resize(total_bytes(batch.runs));
  if (batch.like.choice == PageChoice::Given) {
    const RemoteRange run = batch.runs.front();  // alone in its batch
    std::memcpy(bytes.data(), batch.like.content->data() + (run.start - batch.like.range.start), run.size());
  } else if (batch.like.choice == PageChoice::All) {
    read_runs_as_far_as_possible(source, batch.runs, bytes);
  } else if (batch.like.readable) {
    read_runs(source, batch.runs, bytes);
  } else {
    read_runs_protected(source, batch.runs, bytes);
  }
}

}  // namespace

SavedPages save_page_areas(const RemoteMemory& source, std::span<const PageArea> areas, ExtentWriter& writer,
                           std::uint32_t process, unsigned threads) {
  Batches batches(source.pid(), areas);
  std::atomic<std::uint64_t> pages = 0;
  std::atomic<std::uint64_t> zero_pages = 0;
  std::atomic<bool> failed = false;
  const auto work = [&] {
    std::vector<std::byte> bytes;
    bytes.reserve(kPagePayload);
    for (Batch batch; !failed && batches.next(batch);) {
      read_batch(source, batch, bytes);
      const std::uint64_t looked_at = bytes.size() / kPageSize;
      if (batch.like.starts_zero) batch.runs = drop_zeros(batch.runs, bytes);
      pages += bytes.size() / kPageSize;
      zero_pages += looked_at - bytes.size() / kPageSize;
      if (!bytes.empty()) writer.append(bytes, encode_runs(batch.runs, process));
    }
  };
  run_in_parallel(
      [&] {
        try {
          work();
        } catch (...) {
          failed = true;
          throw;
        }
      },
      threads);
  return {pages, zero_pages, batches.guards()};
}

}  // namespace crs::engine
