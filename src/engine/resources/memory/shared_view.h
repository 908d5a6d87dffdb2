// A second mapping of shared memory of the program, for reading what its own do not show: what guard pages cover, and
// what it has unmapped. If this process dies while there is one, it stays in the program, which does not know of it.
#pragma once

#include <memory>

#include "engine/tracee/remote_caller.h"

namespace crs::engine {

class SharedView {
 public:
  // `seen` begins in the area that is to be seen again, and may go on beyond its end. Throws if the program
  // may not map any more.
  SharedView(RemoteCaller& remote, RemoteRange seen);
  ~SharedView();
  SharedView(const SharedView&) = delete;
  SharedView& operator=(const SharedView&) = delete;

  RemoteRange range() const noexcept { return view_; }
  // Where what lies at `address` is seen.
  RemoteAddress of(RemoteAddress address) const { return view_.start + (address - seen_.start); }

 private:
  RemoteCaller& remote_;
  RemoteRange seen_;
  RemoteRange view_;
};

// Null where the program could not have one either (a sealed area, a limit).
std::unique_ptr<SharedView> shared_view_or_null(RemoteCaller& remote, RemoteRange seen);

}  // namespace crs::engine
