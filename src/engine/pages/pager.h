// Pages that come into a program's memory when it touches them, and all the others meanwhile.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "base/file_descriptor.h"
#include "base/page_buffer.h"
#include "engine/pages/lazy_space.h"
#include "engine/pages/page_loader.h"

namespace crs::engine {

class Pager {
 public:
  // `userfault`: of the program, with events, on which `ranges` are registered. `extents`: which of the loader's hold
  // pages of these ranges that are still to come. `bytes_per_second`: what comes untouched; 0: any number. `loader`
  // outlives this.
  Pager(FileDescriptor userfault, std::span<const RemoteRange> ranges, const PageLoader& loader,
        std::vector<std::size_t> extents, std::uint64_t bytes_per_second);

  // Brings only what is touched until poll(2) says something of `descriptor`, or nobody is left.
  void wait_for(int descriptor);

  // Returns when every page has come, or no process is left that wants one; from then on the memory is like any other.
  // Throws an Error of kind Damaged if an extent is: what it holds has not come, and must never be waited for.
  void run();

 private:
  struct Place {
    RemoteRange run;
    std::size_t extent;
  };
  using Spaces = std::list<LazySpace>;

  using Clock = std::chrono::steady_clock;

  void wait_for_turn(std::size_t extent);
  std::vector<pollfd> polled() const;
  bool wait_for_event(Clock::duration limit) const;
  void load(std::size_t extent);
  bool put_everywhere(std::size_t extent, std::span<const std::byte> payload);
  void take_events();
  bool take_event(Spaces::iterator space);
  void handle_fault(const LazySpace& space, RemoteAddress page);
  const Place* place_of(RemoteAddress origin) const;

  const PageLoader& loader_;
  std::vector<std::size_t> extents_;
  std::uint64_t bytes_per_second_;
  Clock::time_point turn_;     // of the next extent
  std::vector<Place> places_;  // ascending
  std::vector<bool> loaded_;   // by the extent's number
  PageBuffer buffer_;
  PageBuffer fault_buffer_;
  Spaces spaces_;
  struct Fault {
    int descriptor;
    RemoteAddress page;
  };
  std::vector<Fault> faults_;  // taken and not yet answered
};

}  // namespace crs::engine
