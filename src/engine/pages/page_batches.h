// The pages of a list of areas, handed out in pieces that make one extent each.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "engine/pages/page_area.h"
#include "engine/pages/page_runs.h"
#include "engine/pages/page_scan.h"
#include "engine/tracee/remote_memory.h"

namespace crs::engine {

// Pages for one extent; all from areas that are read in the same way.
struct Batch {
  PageRuns runs;
  PageArea like;
};

// May be used by several threads at once.
class Batches {
 public:
  // `areas` must outlive this; no batch has more than `limit` bytes.
  Batches(pid_t pid, std::span<const PageArea> areas, std::uint64_t limit = kPagePayload)
      : pagemap_(pid), areas_(areas), limit_(limit) {}

  // False: there are no more.
  bool next(Batch& batch);

  // Once next() has said that there are no more.
  PageRuns guards() { return std::move(guards_); }

 private:
  bool find_more();
  bool take_all();
  bool take_own();

  std::mutex mutex_;
  Pagemap pagemap_;
  std::span<const PageArea> areas_;
  std::uint64_t limit_;
  std::size_t area_ = 0;
  bool begun_ = false;
  std::optional<PageScan> scan_;
  RemoteRange pending_;  // found and not handed out yet
  PageRuns guards_;
};

// Of a program that does not run: all of the batch's pages, one behind the other. `bytes` has their size.
void read_batch(const RemoteMemory& source, const Batch& batch, std::span<std::byte> bytes);

// The same for pages of an area like `like`, where zeros need not be saved; elsewhere all of them are kept.
PageRuns drop_needless(const PageArea& like, const PageRuns& runs, std::span<std::byte> bytes);

// Moves the pages that are not all zeros together, at the beginning of `bytes`, and returns their runs.
PageRuns drop_zeros(const PageRuns& runs, std::span<std::byte> bytes);

}  // namespace crs::engine
