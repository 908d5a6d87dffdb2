#include "engine/tracee/interruption.h"

#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <limits>
#include <span>

#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kSyscallBytes = 2;  // of the instruction

// select, pselect6 and ppoll: where the limit cannot be written back to the program's memory. From read on: on a socket
// with SO_RCVTIMEO or SO_SNDTIMEO. EINTR means that they have done nothing yet, and without such a limit the kernel
// itself makes them again.
bool is_restarted_after_stop(std::uint64_t call) {
  constexpr std::array<std::uint64_t, 28> kCalls{
      SYS_select,  SYS_pselect6,   SYS_ppoll,           SYS_epoll_wait,   SYS_epoll_pwait, SYS_epoll_pwait2,
      SYS_semop,   SYS_semtimedop, SYS_rt_sigtimedwait, SYS_read,         SYS_readv,       SYS_recvfrom,
      SYS_recvmsg, SYS_recvmmsg,   SYS_accept,          SYS_accept4,      SYS_write,       SYS_writev,
      SYS_sendto,  SYS_sendmsg,    SYS_sendmmsg,        SYS_connect,      SYS_sendfile,    SYS_splice,
      SYS_preadv2, SYS_pwritev2,   SYS_io_getevents,    SYS_io_pgetevents};
  return std::ranges::find(kCalls, call) != kCalls.end();
}

bool signal_waits(const ProcessStatus& status) {
  return ((status.hexadecimal("SigPnd") | status.hexadecimal("ShdPnd")) & ~status.hexadecimal("SigBlk")) != 0;
}

// struct rseq_cs and the beginning of struct rseq (linux/rseq.h).
struct RestartableSequence {
  std::uint32_t version;
  std::uint32_t flags;
  std::uint64_t start;
  std::uint64_t bytes;
  std::uint64_t abort_handler;
};
constexpr std::uint64_t kSequencePointerOffset = 8;

}  // namespace

bool is_about_to_continue_wait(const user_regs_struct& registers, const RemoteMemory& memory) {
  if (registers.rax != SYS_restart_syscall) return false;
  std::array<std::byte, kSyscallBytes> code{};
  return memory.read_some({registers.rip}, code) == code.size() && code[0] == std::byte{0x0f} &&
         code[1] == std::byte{0x05};
}

namespace {

constexpr std::uint64_t kMillisecond = 1000000;
constexpr std::uint64_t kSecond = 1000000000;

// epoll_wait(2), epoll_pwait(2): in milliseconds, in a register.
void shorten_register(user_regs_struct& registers, std::uint64_t elapsed) {
  const auto limit = static_cast<int>(registers.r10);
  if (limit <= 0) return;
  const auto whole = static_cast<std::uint64_t>(limit);
  registers.r10 = whole - std::min(whole, elapsed / kMillisecond);
}

// epoll_pwait2(2) is epoll_pwait(2) with a limit in memory, which is the program's and stays as it is: the thread goes
// on in the latter with what remains, rounded up. Where a filter might not let it, or for limits beyond 24 days, all is
// left as it was.
void shorten_memory(user_regs_struct& registers, std::uint64_t elapsed, const RemoteMemory& memory,
                    const ProcessStatus& status) {
  timespec limit{};
  const auto bytes = std::as_writable_bytes(std::span(&limit, 1));
  if (registers.r10 == 0 || memory.read_some({registers.r10}, bytes) != bytes.size()) return;
  if (status.field("Seccomp").value_or("0") != "0") return;
  if (limit.tv_sec < 0 || limit.tv_sec > std::numeric_limits<int>::max() / 1000) return;
  const std::uint64_t whole =
      static_cast<std::uint64_t>(limit.tv_sec) * kSecond + static_cast<std::uint64_t>(limit.tv_nsec);
  const std::uint64_t milliseconds = (whole - std::min(whole, elapsed) + kMillisecond - 1) / kMillisecond;
  if (milliseconds > static_cast<std::uint64_t>(std::numeric_limits<int>::max())) return;
  registers.r10 = milliseconds;
  registers.orig_rax = SYS_epoll_pwait;
}

}  // namespace

void hide_interrupted_call(StoppedThread& thread, const RemoteMemory& memory) {
  user_regs_struct& registers = thread.registers;
  if (static_cast<long>(registers.rax) != -EINTR || !is_restarted_after_stop(registers.orig_rax)) return;
  const ProcessStatus status = ProcessStatus::of(thread.tid);
  if (signal_waits(status)) return;
  if (thread.elapsed_in_call) {
    const std::uint64_t elapsed = *thread.elapsed_in_call;
    if (registers.orig_rax == SYS_epoll_wait || registers.orig_rax == SYS_epoll_pwait)
      shorten_register(registers, elapsed);
    if (registers.orig_rax == SYS_epoll_pwait2) shorten_memory(registers, elapsed, memory, status);
  }
  registers.rax = registers.orig_rax;
  registers.rip -= kSyscallBytes;
  registers.orig_rax = ~std::uint64_t{0};
}

void abort_restartable_sequence(StoppedThread& thread, const RemoteMemory& memory) {
  if (thread.rseq.address == 0) return;
  const RemoteAddress area{thread.rseq.address};
  const RemoteAddress descriptor{memory.read_value<std::uint64_t>(area + kSequencePointerOffset)};
  if (descriptor.value == 0) return;
  RestartableSequence sequence{};
  const auto bytes = std::as_writable_bytes(std::span(&sequence, 1));
  if (memory.read_some(descriptor, bytes) != bytes.size()) return;
  if (thread.registers.rip - sequence.start >= sequence.bytes) return;
  thread.registers.rip = sequence.abort_handler;
  thread.registers.orig_rax = ~std::uint64_t{0};
}

namespace {

void make_again(user_regs_struct& registers, const LimitedWait& wait) {
  registers.rax = static_cast<std::uint64_t>(wait.call);
  registers.rip -= kSyscallBytes;
  // The kernel has written what remains to where the program asked for it.
  if (wait.call == SYS_nanosleep && registers.rsi != 0) registers.rdi = registers.rsi;
  if (wait.call == SYS_clock_nanosleep && registers.r10 != 0) registers.rdx = registers.r10;
  const bool limited_poll = wait.call == SYS_poll && static_cast<int>(registers.rdx) > 0;
  if (limited_poll && wait.remaining) registers.rdx = (*wait.remaining + kMillisecond - 1) / kMillisecond;
}

}  // namespace

user_regs_struct with_call_restarted(user_regs_struct registers, const std::optional<LimitedWait>& wait) {
  if (static_cast<long>(registers.orig_rax) < 0) return registers;
  switch (-static_cast<long>(registers.rax)) {
    case kRestartSystemCall:
    case kRestartNoInterrupt:
    case kRestartNoHandler:
      registers.rax = registers.orig_rax;
      registers.rip -= kSyscallBytes;
      break;
    case kRestartBlock:
      if (wait) {
        make_again(registers, *wait);
      } else {
        registers.rax = static_cast<std::uint64_t>(-EINTR);
      }
      break;
    default:
      break;
  }
  registers.orig_rax = ~std::uint64_t{0};
  return registers;
}

}  // namespace crs::engine
