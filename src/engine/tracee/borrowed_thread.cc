#include "engine/tracee/borrowed_thread.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <tuple>

#include "base/error.h"
#include "base/io.h"
#include "engine/tracee/call_chain.h"
#include "engine/tracee/interruption.h"
#include "engine/tracee/memory_sharer.h"
#include "engine/tracee/signal_frame.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
constexpr std::uint64_t kRedZone = 128;  // below the stack pointer, System V ABI for x86-64
constexpr std::size_t kAlignment = 64;
constexpr std::string_view kMark = "\x7f CRS checkpoint scratch\n";

RemoteAddress aligned_down(RemoteAddress address) { return {address.value / kPageSize * kPageSize}; }

// Of a call with a time limit, the kernel remembers apart from the registers what is left of it; rt_sigreturn(2) makes
// it forget (restore_sigcontext in arch/x86/kernel/signal_64.c), and the call would end with EINTR.
bool goes_on_with_rest_of_time(const user_regs_struct& registers) {
  return static_cast<long>(registers.rax) == -kRestartBlock;
}

// A program that steps itself (the trap flag; popf) would get SIGTRAP for every instruction of ours, and, since all
// signals are blocked meanwhile, die of it (force_sig_info in kernel/signal.c).
user_regs_struct without_single_stepping(user_regs_struct registers) {
  constexpr std::uint64_t kTrapFlag = 0x100;
  registers.eflags &= ~kTrapFlag;
  return registers;
}

// While this exists, crs's own limit of stacks is as high as it may be: a stack that grows under somebody else's
// writing counts against the writer's (acct_stack_growth in mm/vma.c), which may be far below the program's.
class LiftedStackLimit {
 public:
  LiftedStackLimit() {
    if (::getrlimit(RLIMIT_STACK, &usual_) != 0) return;
    const rlimit lifted{usual_.rlim_max, usual_.rlim_max};
    is_lifted_ = ::setrlimit(RLIMIT_STACK, &lifted) == 0;
  }
  ~LiftedStackLimit() {
    if (is_lifted_) ::setrlimit(RLIMIT_STACK, &usual_);
  }
  LiftedStackLimit(const LiftedStackLimit&) = delete;
  LiftedStackLimit& operator=(const LiftedStackLimit&) = delete;

 private:
  rlimit usual_{};
  bool is_lifted_ = false;
};

bool is_blank(const RemoteMemory& memory, RemoteRange range) {
  std::vector<std::byte> bytes(range.size());
  memory.read(range.start, bytes);
  return is_zero(bytes);
}

// Of its own, whatever is blocked while it is borrowed; nothing where it has ended before the others.
std::optional<std::uint64_t> blocked_by_main_thread(const StoppedProcess& process) {
  const StoppedThread& first = process.threads().front();
  if (first.tid != process.pid()) return std::nullopt;
  return first.signal_mask;
}

// With the end of the first process of a namespace there can be no more in it (pid_namespaces(7)): a child of crs's
// must not be that for the program's.
void refuse_to_make_init(pid_t tid) {
  const auto space = [&](const char* kind) {
    std::error_code none;  // the children's has no link as long as there is no init
    return std::filesystem::read_symlink(fmt::format("/proc/{}/ns/{}", tid, kind), none);
  };
  if (space("pid") != space("pid_for_children"))
    fail(ErrorKind::Failed, "children of thread {} are born into another process id namespace", tid);
}

}  // namespace

// The kernel lays the main thread's stack out with far more room than a program starts with. Its lowest pages are free
// as long as nothing was ever written there, whatever stack the threads are on; and all below the red zone is free
// while the main thread stands on it.
ScratchPlaces::ScratchPlaces(const StoppedProcess& process, RemoteRange taken) : memory_(process.memory()) {
  const std::vector<MapsLine>& mappings = process.areas();
  const RemoteAddress stack_pointer{process.threads().front().registers.rsp};
  auto stack = find_line(mappings, "[stack]");
  if (!stack) stack = find_line(mappings, stack_pointer);
  if (taken.size() > 0 && find_above(taken, stack)) return;
  if (taken.size() == 0 && stack && stack->permits(PROT_WRITE) && stack->range.size() > kBytes + kPageSize) {
    start_ = stack->range.start;
    if (is_blank(memory_, {start_, start_ + kBytes}) || is_marked()) {
      mark();
      return;
    }
    if (stack->range.contains(stack_pointer) && stack_pointer - stack->range.start > kBytes + kRedZone + kPageSize) {
      start_ = aligned_down(stack_pointer - (kBytes + kRedZone));
      mark();
      return;
    }
  }
  if (stack && taken.size() > 0) stack->range.start = std::min(stack->range.start, taken.start);
  if (stack && stack->permits(PROT_WRITE) && grow(stack->range)) {
    mark();
    return;
  }
  throw Error(ErrorKind::Refused,
              fmt::format("process {} has no free room on its main stack to make system calls from", process.pid()))
      .advise("Let crs have larger stacks (ulimit -H -s), or try again when the program is less deep in calls");
}

// Blank pages of the same stack.
bool ScratchPlaces::find_above(RemoteRange taken, const std::optional<MapsLine>& stack) {
  start_ = taken.end;
  if (!stack || !stack->range.contains(taken.start) || start_ + (kBytes + kPageSize) > stack->range.end) return false;
  if (!is_blank(memory_, {start_, start_ + kBytes}) && !is_marked()) return false;
  mark();
  return true;
}

// A stack that is in use down to its lowest page grows under the writing of its neighbour's page (/proc/PID/mem), as it
// would under the program's own.
bool ScratchPlaces::grow(RemoteRange stack) {
  const LiftedStackLimit lifted;
  start_ = stack.start - (kBytes + kPageSize);
  try {
    memory_.write_protected(start_, std::vector<std::byte>(kMarkBytes));
    return is_blank(memory_, {start_, start_ + kBytes});
  } catch (const Error&) {  // no stack that grows, or no room below it
    return false;
  }
}

ScratchPlaces::~ScratchPlaces() {
  try {
    memory_.write(start_, original_);
  } catch (const Error&) {  // the program is gone
  }
}

bool ScratchPlaces::is_marked() const {
  std::array<std::byte, kMark.size()> bytes{};
  return memory_.read_some(start_, bytes) == bytes.size() && std::ranges::equal(bytes, as_byte_span(kMark));
}

void ScratchPlaces::mark() {
  if (is_marked()) {
    memory_.write(start_, std::vector<std::byte>(kBytes));
  } else {
    memory_.read(start_, original_);
  }
  memory_.write(start_, as_byte_span(kMark));
}

BorrowedThread::BorrowedThread(const StoppedProcess& process, const StoppedThread& thread, const Gadgets& gadgets,
                               RemoteAddress place)
    : thread_(thread),
      memory_(process.memory()),
      gadgets_(gadgets),
      call_options_(process.call_options()),
      blocked_by_main_(blocked_by_main_thread(process)),
      registers_(without_single_stepping(thread.registers)),
      frame_(place) {
  const std::vector<std::byte> frame =
      make_signal_frame(frame_, gadgets.signal_return, with_call_restarted(thread.registers, thread.wait),
                        thread.extended_state, thread.signal_mask);
  scratch_ = frame_ + (frame.size() + kAlignment - 1) / kAlignment * kAlignment;
  const std::size_t bytes = (scratch_ - frame_) + kScratchSize;
  if (bytes > ScratchPlaces::kPlaceBytes)
    fail(ErrorKind::Failed, "the registers of thread {} need {} bytes", thread.tid, bytes);
  if (!thread.extended_state.empty()) extended_state_ = extended_state_in_signal_frame(frame_);
  original_.resize(bytes);
  memory_.read(frame_, original_);
  ptrace::set_options(tid(), call_options_);  // until it is detached
  memory_.write(frame_, frame);
  // From here on the thread heals itself if this process dies: first the registers, whose way leads through the frame,
  // and only then the mask, which the frame restores.
  try {
    user_regs_struct registers = registers_;
    registers.rip = gadgets.syscall_return.value;
    registers.rsp = frame_.value;
    registers.rax = SYS_getpid;
    registers.orig_rax = ~std::uint64_t{0};
    ptrace::set_registers(thread.tid, registers);
    ptrace::set_signal_mask(thread.tid, kAllSignals);
  } catch (...) {
    memory_.write(frame_, original_);
    throw;
  }
}

BorrowedThread::~BorrowedThread() {
  try {
    ptrace::set_signal_mask(thread_.tid, thread_.signal_mask);
    ptrace::set_registers(thread_.tid, thread_.registers);
    memory_.write(frame_, original_);
  } catch (const Error&) {  // the thread is gone
  }
}

ptrace::SystemCallResult BorrowedThread::call_on(RemoteAddress frame, long number,
                                                 const std::array<std::uint64_t, 6>& arguments) {
  user_regs_struct at = registers_;
  at.rip = gadgets_.syscall_return.value;
  at.rsp = frame.value;
  return ptrace::make_system_call(tid(), at, number, arguments);
}

std::int64_t BorrowedThread::raw_call(long number, const std::array<std::uint64_t, 6>& arguments) {
  return call_on(frame_, number, arguments).value;
}

std::size_t BorrowedThread::calls_in_chain() const {
  const std::size_t room = (frame_ + ScratchPlaces::kPlaceBytes) - chain_place();
  return std::max<std::size_t>(room / CallChain::kFrameBytes, 1) - 1;
}

std::vector<RemoteCaller::StoredResult> BorrowedThread::call_all(std::string_view name,
                                                                 std::span<const StoringCall> calls, Answer answer) {
  const StoredResults stored = call_at_once(calls, answer);
  return stored ? *stored : RemoteCaller::call_all(name, calls, answer);
}

BorrowedThread::StoredResults BorrowedThread::call_at_once(std::span<const StoringCall> calls, Answer answer) {
  const bool returns = std::ranges::any_of(calls, [](const StoringCall& call) { return call.result == kReturned; });
  if (returns && gadgets_.result_store.value == 0) return std::nullopt;
  // What returns is stored by the thread itself. Where it may not, the kernel would take away the program's action for
  // SIGSEGV, since all signals are blocked (force_sig_info_to_task in kernel/signal.c).
  if (!may_use_ordinary_memory(thread_.extended_state)) return std::nullopt;
  if (!goes_on_with_rest_of_time(thread_.registers)) return call_in_chains(calls);
  return answer == Answer::OfCopyToo ? call_in_child(calls) : std::nullopt;
}

BorrowedThread::StoredResults BorrowedThread::call_in_chains(std::span<const StoringCall> calls) const {
  const auto end = end_with_signal(tid(), kAllSignals, thread_.signal_mask, blocked_by_main_, frame_);
  if (!end) return std::nullopt;
  const ChainFrames frames{gadgets_, registers_, extended_state_, kAllSignals};
  return call_chained({tid(), frames, *end}, calls);
}

// It has nothing to go home to: where the chain ends if this process dies, it ends.
BorrowedThread::StoredResults BorrowedThread::call_in_child(std::span<const StoringCall> calls) {
  try {
    const MemorySharer child(*this);
    const auto end = end_with_signal(child.pid(), kAllSignals, 0, 0, ending_frame());
    if (!end) return std::nullopt;
    const ChainFrames frames{gadgets_, sharer_registers(), {}, kAllSignals};
    return call_chained({child.pid(), frames, *end}, calls);
  } catch (const Error& error) {  // there can be no more processes
    if (error.kind() == ErrorKind::ProgramGone) throw;
    return std::nullopt;
  }
}

// Nothing if there is no room for a chain, a call has failed, or the thread did not come to the end.
BorrowedThread::StoredResults BorrowedThread::call_chained(const ChainedThread& thread,
                                                           std::span<const StoringCall> calls) const {
  std::vector<StoredResult> results;
  const std::size_t most = calls_in_chain();
  if (most == 0) return std::nullopt;
  while (results.size() < calls.size()) {
    const auto rest = calls.subspan(results.size());
    const auto stored = run_chain(thread, memory_, chain_place(), rest.first(std::min(rest.size(), most)));
    if (!stored) return std::nullopt;
    results.insert(results.end(), stored->begin(), stored->end());
  }
  return results;
}

RemoteAddress BorrowedThread::ending_frame() const {
  return scratch_ + (signal_frame_bytes(0) + kAlignment - 1) / kAlignment * kAlignment;
}

// A frame that leads into one more system call, with nothing but its arguments in `registers`.
void BorrowedThread::write_frame(RemoteAddress place, user_regs_struct registers) const {
  registers.rip = gadgets_.syscall_return.value;
  const std::vector<std::byte> frame = make_signal_frame(place, gadgets_.signal_return, registers, {}, kAllSignals);
  if (place + frame.size() > scratch_ + kScratchSize) fail(ErrorKind::Failed, "two signal frames need more room");
  memory_.write(place, frame);
}

// The way home leads over a frame for each of the endings meanwhile.
std::vector<std::int64_t> BorrowedThread::call_to_the_end(std::span<const StoringCall> calls,
                                                          std::span<const StoringCall> endings) {
  const std::array places{reaping_frame(), ending_frame()};
  if (endings.size() > places.size()) fail(ErrorKind::Failed, "{} calls are too many to end with", endings.size());
  RemoteAddress way_home = frame_;
  std::vector<RemoteAddress> ways;  // from behind each of the endings, the last one first
  for (std::size_t i = endings.size(); i-- > 0;) {
    ways.push_back(way_home);
    user_regs_struct at = registers_;
    const auto& [rdi, rsi, rdx, r10, r8, r9] = endings[i].arguments;
    std::tie(at.rdi, at.rsi, at.rdx, at.r10, at.r8, at.r9) = std::tie(rdi, rsi, rdx, r10, r8, r9);
    at.rax = static_cast<std::uint64_t>(endings[i].number);
    at.rsp = way_home.value;
    write_frame(places.at(i), at);
    way_home = places.at(i);
  }
  std::vector<std::int64_t> results;
  for (const StoringCall& call : calls) results.push_back(call_on(way_home, call.number, call.arguments).value);
  for (const StoringCall& call : endings) {
    results.push_back(call_on(ways.back(), call.number, call.arguments).value);
    ways.pop_back();
  }
  return results;
}

user_regs_struct BorrowedThread::sharer_registers() const {
  user_regs_struct registers = registers_;
  registers.rip = gadgets_.syscall_return.value;
  registers.rsp = ending_frame().value;
  return registers;
}

// The way home leads over a second frame meanwhile: into wait4(2) for the child, whose id the kernel itself writes into
// that frame before the child first runs (CLONE_PARENT_SETTID), and from there through the frame that this object made.
// The child's own stack is a frame that leads into _exit(2).
pid_t BorrowedThread::make_sharer() {
  refuse_to_make_init(tid());
  constexpr std::uint64_t kNobody = 0x7fffffff;  // above any process id: wait4(2) says ECHILD
  user_regs_struct waiting = registers_;
  waiting.rax = SYS_wait4;
  waiting.rdi = kNobody;
  waiting.rsi = waiting.r10 = 0;
  waiting.rdx = __WALL;
  waiting.rsp = frame_.value;
  write_frame(reaping_frame(), waiting);
  user_regs_struct ending = sharer_registers();
  ending.rax = SYS_exit;
  ending.rdi = 0;
  write_frame(ending_frame(), ending);
  const std::uint64_t child_id = (reaping_frame() + first_argument_in_signal_frame()).value;
  ptrace::set_options(tid(), call_options_ | PTRACE_O_TRACECLONE);
  const ptrace::SystemCallResult made =
      call_on(reaping_frame(), SYS_clone,
              {CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_PARENT_SETTID, ending_frame().value, child_id, 0, 0, 0});
  ptrace::set_options(tid(), call_options_);
  if (made.created_thread <= 0) call_on(frame_, SYS_getpid, {});  // there is nobody to wait for on the way home
  return ptrace::created_by(made, tid());
}

void BorrowedThread::reap_sharer() {
  const auto id = memory_.read_value<std::uint64_t>(reaping_frame() + first_argument_in_signal_frame());
  call_on(frame_, SYS_wait4, {id, 0, __WALL, 0, 0, 0});  // from here on there is nobody to wait for on the way home
}

}  // namespace crs::engine
