// How a program that component self restarted says whether it could come back: to the crs that restarted it.
#pragma once

namespace crs::self {

// The socket on which it does, which is the caller's from now on; -1 where nobody waits, or it was taken before.
int take_restart_channel() noexcept;

}  // namespace crs::self
