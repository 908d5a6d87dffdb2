#include "engine/pages/page_batches.h"

#include <algorithm>
#include <cstring>

#include "base/io.h"
#include "engine/pages/page_transfer.h"

namespace crs::engine {
namespace {

bool read_alike(const PageArea& one, const PageArea& other) {
  return one.choice == other.choice && one.choice != PageChoice::Given && one.readable == other.readable &&
         one.copied_on_write == other.copied_on_write && one.starts_zero == other.starts_zero;
}

}  // namespace

bool Batches::next(Batch& batch) {
  const std::scoped_lock lock(mutex_);
  batch.runs.clear();
  for (std::uint64_t room = limit_; room > 0;) {
    if (pending_.size() == 0 && !find_more()) break;
    if (!batch.runs.empty() && !read_alike(batch.like, areas_[area_])) break;
    // The runs of an extent ascend. What /proc says of a program that runs meanwhile may overlap what it said before.
    if (!batch.runs.empty() && pending_.start < batch.runs.back().end) break;
    if (batch.runs.empty()) batch.like = areas_[area_];
    const RemoteRange run{pending_.start, pending_.start + std::min(room, pending_.size())};
    append_run(batch.runs, run);
    pending_.start = run.end;
    room -= run.size();
  }
  return !batch.runs.empty();
}

// Fills pending_ with pages of areas_[area_], going on to the next areas as needed.
bool Batches::find_more() {
  for (; area_ < areas_.size(); ++area_, begun_ = false, scan_.reset()) {
    if (areas_[area_].choice == PageChoice::Own ? take_own() : take_all()) return true;
  }
  return false;
}

bool Batches::take_all() {
  if (begun_) return false;
  begun_ = true;
  pending_ = areas_[area_].range;
  return pending_.size() > 0;
}

bool Batches::take_own() {
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

void read_batch(const RemoteMemory& source, const Batch& batch, std::span<std::byte> bytes) {
  if (batch.like.choice == PageChoice::Given) {
    const RemoteRange run = batch.runs.front();  // alone in its batch
    std::memcpy(bytes.data(), batch.like.content->data() + (run.start - batch.like.range.start), run.size());
  } else if (batch.like.choice == PageChoice::All) {
    read_runs_as_far_as_possible(source, batch.runs, bytes);
  } else if (batch.like.readable && !batch.like.copied_on_write) {
    read_runs(source, batch.runs, bytes);
  } else {
    read_runs_protected(source, batch.runs, bytes);
  }
}

PageRuns drop_needless(const PageArea& like, const PageRuns& runs, std::span<std::byte> bytes) {
  return like.starts_zero ? drop_zeros(runs, bytes) : runs;
}

PageRuns drop_zeros(const PageRuns& runs, std::span<std::byte> bytes) {
  PageRuns kept;
  std::byte* from = bytes.data();
  std::byte* to = bytes.data();
  for (const RemoteRange& run : runs) {
    for (RemoteAddress page = run.start; page < run.end; page = page + kPageSize, from += kPageSize) {
      if (is_zero({from, kPageSize})) continue;
      if (from != to) std::memcpy(to, from, kPageSize);
      to += kPageSize;
      append_run(kept, {page, page + kPageSize});
    }
  }
  return kept;
}

}  // namespace crs::engine
