// Which of a snapshot's pages are still to come into one address space that goes on changing: userfaultfd(2).
#pragma once

#include <linux/userfaultfd.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/pages/page_runs.h"

namespace crs::engine {

// The kernel tells of every fork, move, removal and unmapping before it has an effect on what is put here: a call that
// would put pages while such an event waits is refused (EAGAIN).
class LazySpace {
 public:
  // `descriptor`: a userfaultfd of that space, with events, on which `ranges` are registered; they lie where they lay
  // in the snapshot.
  LazySpace(FileDescriptor descriptor, std::span<const RemoteRange> ranges);

  int descriptor() const noexcept { return descriptor_.get(); }

  // Where the snapshot had what is at `address` now; empty: nowhere, fresh memory is there.
  std::optional<RemoteAddress> origin_of(RemoteAddress address) const;

  enum class Put { Done, Again, Gone };  // Again: events wait. Gone: the space is no more
  // Puts the pages of `run` (addresses of the snapshot) that are wanted and missing; `bytes` is their content.
  Put put(RemoteRange run, std::span<const std::byte> bytes) const;
  // Fresh memory at one page.
  Put put_zeros(RemoteAddress page) const;
  // Whoever waits for this page looks again.
  void wake(RemoteAddress page) const;

  // What events say. The space of a child begins as its parent's is.
  LazySpace forked(FileDescriptor descriptor) const;
  void moved(RemoteAddress from, RemoteAddress to, std::uint64_t bytes);
  void removed(RemoteRange range);

 private:
  struct Piece {
    RemoteAddress end;
    RemoteAddress origin;
  };

  void split_at(RemoteAddress address);
  Put put_at(RemoteAddress to, std::span<const std::byte> bytes) const;

  FileDescriptor descriptor_;
  std::map<RemoteAddress, Piece> pieces_;  // by their start, without overlaps
};

}  // namespace crs::engine
