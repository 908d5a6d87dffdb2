#include "engine/resources/threads/clock_waits.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include <cstring>
#include <ctime>
#include <string>

#include "base/error.h"
#include "base/io.h"
#include "engine/tracee/interruption.h"

namespace crs::engine {
namespace {

std::string boot_id() { return read_file("/proc/sys/kernel/random/boot_id", 128); }

bool is_clock_of_boot(std::uint64_t clock) { return clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME; }

// Caught in a call that is to be made again, by its arguments (futex(2), clock_nanosleep(2)). Where that is a second
// time, the kernel calls it restart_syscall(2).
bool waits_until_time_of_boot(const user_regs_struct& registers, std::uint64_t call) {
  const auto result = static_cast<long>(registers.rax);
  if (result > -kRestartSystemCall || result < -kRestartBlock) return false;
  if (call == SYS_clock_nanosleep) return is_clock_of_boot(registers.rdi) && (registers.rsi & TIMER_ABSTIME) != 0;
  if (call != SYS_futex || registers.r10 == 0 || (registers.rsi & FUTEX_CLOCK_REALTIME) != 0) return false;
  const auto operation = static_cast<int>(registers.rsi) & FUTEX_CMD_MASK;
  return operation == FUTEX_WAIT_BITSET || operation == FUTEX_WAIT_REQUEUE_PI || operation == FUTEX_LOCK_PI2;
}

}  // namespace

void capture_boot(image::Threads& threads) { threads.set_boot_id(boot_id()); }

void note_waits_of_another_boot(std::vector<std::string>& notes, const image::Threads& threads, bool another_clock) {
  if (threads.boot_id().empty() || (threads.boot_id() == boot_id() && !another_clock)) return;
  int waiting = 0;
  for (const image::Thread& thread : threads.threads()) {
    if (thread.ended()) continue;
    user_regs_struct registers{};
    std::memcpy(&registers, thread.registers().data(), sizeof registers);
    const std::uint64_t call =
        thread.has_timed_wait() ? static_cast<std::uint64_t>(thread.timed_wait().call()) : registers.orig_rax;
    if (waits_until_time_of_boot(registers, call)) ++waiting;
  }
  if (waiting == 0) return;
  notes.push_back(
      fmt::format("{} thread{} in a wait until a time of CLOCK_MONOTONIC, which is another clock than it was: the wait "
                  "lasts longer or "
                  "shorter by the difference",
                  waiting, waiting == 1 ? " is" : "s are"));
}

}  // namespace crs::engine
