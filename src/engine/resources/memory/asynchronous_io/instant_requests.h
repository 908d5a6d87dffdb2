// Requests to a context that are answered at once.
#pragma once

#include <linux/aio_abi.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/tracee/remote_caller.h"

namespace crs::engine {

class InstantRequests {
 public:
  // Of the context `context`, for up to `most` requests. Has memory of its own in the other process as long as it
  // lives, and a descriptor unless one that is open there will do: a process that goes on after the death of this one
  // keeps them.
  InstantRequests(RemoteCaller& remote, RemoteAddress context, std::uint64_t most);
  ~InstantRequests();
  InstantRequests(const InstantRequests&) = delete;
  InstantRequests& operator=(const InstantRequests&) = delete;

  // Makes `count` of them. Throws if the context has no room.
  void make(std::uint64_t count);
  // Makes as many as the context has room for, and takes all of its answers out of it, even if this process dies. With
  // `everywhere`, on every processor, some of which may keep room back.
  std::vector<io_event> fill_and_empty(bool everywhere);
  // Whether it is the answer to one of them.
  bool answered_by(const io_event& event) const noexcept { return event.obj == request().value; }

 private:
  RemoteCaller::StoringCall making(std::uint64_t count) const;
  std::vector<RemoteCaller::StoringCall> making_everywhere() const;
  static RemoteCaller::StoringCall moving_to(RemoteAddress mask);
  RemoteAddress request() const noexcept { return place_; }
  RemoteAddress no_time() const noexcept { return request() + sizeof(iocb); }
  RemoteAddress processors() const noexcept { return no_time() + 2 * sizeof(std::uint64_t); }
  RemoteAddress one_processor(std::size_t number) const noexcept { return processors() + (1 + number) * kMaskBytes; }
  RemoteAddress list() const noexcept { return one_processor(processors_); }
  RemoteAddress answers() const noexcept { return list() + most_ * sizeof(std::uint64_t); }
  std::uint64_t bytes() const noexcept { return answers() + most_ * sizeof(io_event) - place_; }

  static constexpr std::size_t kMaskBytes = 128;

  RemoteCaller& remote_;
  RemoteAddress context_;
  std::uint64_t most_;
  std::size_t processors_;
  RemoteAddress place_;
  int own_descriptor_ = -1;
};

}  // namespace crs::engine
