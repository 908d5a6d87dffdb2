// What a snapshot says of threads, before any is made: what the kernel would refuse only when it is too late to turn
// back.
#include <linux/futex.h>
#include <sys/user.h>

#include <cstring>
#include <set>

#include "base/error.h"
#include "engine/resources/attributes/attributes.h"
#include "engine/resources/processor/thread_segments.h"
#include "engine/resources/signals/signals.h"
#include "engine/resources/threads/threads.h"
#include "engine/resources/threads/timed_wait.h"

namespace crs::engine {
namespace {

constexpr pid_t kHighestId = 1 << 22;  // PID_MAX_LIMIT (proc_sys_kernel(5), pid_max)
constexpr std::uint64_t kUserSpaceEnd = std::uint64_t{1} << 47;

// The XSAVE area in its standard form: Intel SDM volume 1, section 13.4.
constexpr std::size_t kLargestExtendedState = 65536;
constexpr std::size_t kSmallestExtendedState = 576;  // legacy area and header
constexpr std::size_t kControlOffset = 24;           // MXCSR
constexpr std::uint32_t kReservedControl = 0xffff0000;
constexpr std::size_t kCompactionOffset = 512 + 8;  // XCOMP_BV and what is reserved behind it: zero
constexpr std::size_t kHeaderEnd = 512 + 64;

// The only code segment of 64-bit programs (arch/x86/include/asm/segment.h).
constexpr std::uint64_t kCodeSegment = 0x33;

bool is_segment(std::uint64_t selector) { return selector <= 0xffff && (selector == 0 || (selector & 3) == 3); }

// putreg() of arch/x86/kernel/ptrace.c refuses other selectors and bases; the instruction pointer it takes as it is.
bool can_be(const user_regs_struct& registers) {
  const bool segments = registers.cs == kCodeSegment && registers.ss != 0 && is_segment(registers.ss) &&
                        is_segment(registers.ds) && is_segment(registers.es) && is_segment(registers.fs) &&
                        is_segment(registers.gs);
  return segments && registers.fs_base < kUserSpaceEnd && registers.gs_base < kUserSpaceEnd &&
         registers.rip < kUserSpaceEnd;
}

bool is_extended_state(std::string_view state) {
  if (state.size() < kSmallestExtendedState || state.size() > kLargestExtendedState) return false;
  std::uint32_t control = 0;
  std::memcpy(&control, state.data() + kControlOffset, sizeof control);
  const std::string_view zeros = state.substr(kCompactionOffset, kHeaderEnd - kCompactionOffset);
  return (control & kReservedControl) == 0 && zeros.find_first_not_of('\0') == std::string_view::npos;
}

void check_thread(const image::Thread& thread) {
  const auto complain = [&](std::string_view what) {
    fail(ErrorKind::Damaged, "thread {} of the image has {}", thread.tid(), what);
  };
  if (thread.tid() <= 0 || thread.tid() > kHighestId) complain("an impossible id");
  if (thread.exit_status() > 0xff) complain("an impossible exit status");
  if (thread.ended()) return;
  user_regs_struct registers{};
  if (thread.registers().size() != sizeof registers) complain("registers of a wrong size");
  std::memcpy(&registers, thread.registers().data(), sizeof registers);
  if (!can_be(registers)) complain("registers that cannot be");
  if (!is_extended_state(thread.extended_state())) complain("an extended state that cannot be");
  check_thread_segments(thread.segments());
  for (const std::uint64_t address : {thread.cleared_at(), thread.robust_list(), thread.rseq_address()}) {
    if (address >= kUserSpaceEnd) complain("an address outside the program's memory");
  }
  // set_robust_list(2) takes no other.
  if (thread.robust_list_bytes() != 0 && thread.robust_list_bytes() != sizeof(robust_list_head))
    complain("a robust list of a size that cannot be");
  if (thread.has_timed_wait() && !is_timed_wait(thread.timed_wait().call())) {
    complain("a timed wait in a system call that has none");
  }
}

}  // namespace

void check_threads(CheckContext& context, const image::Threads& threads) {
  if (threads.threads().empty()) fail(ErrorKind::Damaged, "the image has no threads");
  std::set<pid_t> seen;
  for (const image::Thread& thread : threads.threads()) {
    check_thread(thread);
    if (thread.ended() != (thread.ended() && seen.empty() && threads.threads_size() > 1))
      fail(ErrorKind::Damaged, "thread {} of the image has ended, and is not a main thread that leaves others behind",
           thread.tid());
    if (!seen.insert(thread.tid()).second) fail(ErrorKind::Damaged, "the image has thread {} twice", thread.tid());
    if (thread.ended()) continue;
    check_thread_signals(context, thread.signals());
    check_thread_attributes(context, thread.attributes());
  }
}

}  // namespace crs::engine
