#include "engine/newborn/turn.h"

#include <linux/futex.h>

#include <atomic>

namespace crs::engine {

void Turn::take() noexcept {
  const std::atomic_ref state(state_);
  std::uint32_t free = 0;
  if (state.compare_exchange_strong(free, 1)) return;
  while (state.exchange(2) != 0) system_call_alone(SYS_futex, address_of(&state_), FUTEX_WAIT_PRIVATE, 2);
}

void Turn::give() noexcept {
  if (std::atomic_ref(state_).exchange(0) == 2)
    system_call_alone(SYS_futex, address_of(&state_), FUTEX_WAKE_PRIVATE, 1);
}

}  // namespace crs::engine
