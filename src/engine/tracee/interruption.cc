#include "engine/tracee/interruption.h"

#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kSyscallBytes = 2;  // of the instruction

// From read on: on a socket with SO_RCVTIMEO or SO_SNDTIMEO. EINTR means that they have done nothing yet, and without
// such a limit the kernel itself makes them again.
bool is_restarted_after_stop(std::uint64_t call) {
  constexpr std::array<std::uint64_t, 23> kCalls{
      SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_semop,   SYS_semtimedop, SYS_rt_sigtimedwait,
      SYS_read,       SYS_readv,       SYS_recvfrom,     SYS_recvmsg, SYS_recvmmsg,   SYS_accept,
      SYS_accept4,    SYS_write,       SYS_writev,       SYS_sendto,  SYS_sendmsg,    SYS_sendmmsg,
      SYS_connect,    SYS_sendfile,    SYS_splice,       SYS_preadv2, SYS_pwritev2};
  return std::ranges::find(kCalls, call) != kCalls.end();
}

bool signal_waits_for(pid_t tid) {
  const ProcessStatus status = ProcessStatus::of(tid);
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

void hide_interrupted_call(StoppedThread& thread) {
  user_regs_struct& registers = thread.registers;
  if (static_cast<long>(registers.rax) != -EINTR || !is_restarted_after_stop(registers.orig_rax)) return;
  if (signal_waits_for(thread.tid)) return;
  const bool limit_in_register = registers.orig_rax == SYS_epoll_wait || registers.orig_rax == SYS_epoll_pwait;
  const auto limit = static_cast<int>(registers.r10);
  if (limit_in_register && limit > 0 && thread.elapsed_in_call) {
    constexpr std::uint64_t kMillisecond = 1000000;
    registers.r10 = static_cast<std::uint64_t>(limit) -
                    std::min<std::uint64_t>(static_cast<std::uint64_t>(limit), *thread.elapsed_in_call / kMillisecond);
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
  constexpr std::uint64_t kMillisecond = 1000000;
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
