#include "engine/tracee/call_chain.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <string_view>

#include "engine/procfs/status.h"
#include "engine/tracee/ptrace.h"
#include "engine/tracee/remote_memory.h"
#include "engine/tracee/signal_frame.h"

namespace crs::engine {
namespace {

using StoredResult = RemoteCaller::StoredResult;

// Behind each frame. No call stores just this.
constexpr std::size_t kResult = CallChain::kFrameBytes - RemoteCaller::kStoredBytes;
constexpr std::byte kNothing{0xa5};
// Where in its place what is returned leaves the stack that leads to the next frame: the address of the code that
// stores it, and what that takes off the stack.
constexpr std::size_t kStoringStack = RemoteCaller::kStoredBytes - 2 * sizeof(std::uint64_t);
static_assert(kStoringStack == kResultStoreStack);

// What rt_sigreturn(2) reads must end before the result begins.
static_assert(kChainedFrameBytes <= kResult);

user_regs_struct with_call(user_regs_struct registers, long number, const std::array<std::uint64_t, 6>& arguments) {
  registers.rax = static_cast<std::uint64_t>(number);
  registers.rdi = arguments[0];
  registers.rsi = arguments[1];
  registers.rdx = arguments[2];
  registers.r10 = arguments[3];
  registers.r8 = arguments[4];
  registers.r9 = arguments[5];
  return registers;
}

}  // namespace

CallChain::CallChain(RemoteAddress place, const ChainFrames& frames, std::span<const RemoteCaller::StoringCall> calls,
                     const End& end)
    : place_(place), frames_(frames), bytes_(bytes_for(calls.size()), kNothing) {
  for (std::size_t i = 0; i < calls.size(); ++i) {
    auto arguments = calls[i].arguments;
    const RemoteAddress result = place + i * kFrameBytes + kResult;
    if (calls[i].result == RemoteCaller::kReturned) {
      user_regs_struct registers = with_call(frames.registers, calls[i].number, arguments);
      registers.rbx = result.value;
      lay(i, registers, frames.signal_mask, result + kStoringStack);
      std::memcpy(bytes_.data() + i * kFrameBytes + kResult + kStoringStack, &frames.gadgets.result_store.value,
                  sizeof(std::uint64_t));
      continue;
    }
    arguments.at(calls[i].result) = result.value;
    lay(i, with_call(frames.registers, calls[i].number, arguments), frames.signal_mask, place + (i + 1) * kFrameBytes);
  }
  lay(calls.size(), with_call(frames.registers, end.number, end.arguments), end.signal_mask, end.stack_pointer);
}

void CallChain::lay(std::size_t index, user_regs_struct registers, std::uint64_t mask, RemoteAddress next) {
  registers.rip = frames_.gadgets.syscall_return.value;
  registers.rsp = next.value;
  const std::array<std::byte, kChainedFrameBytes> frame =
      make_chained_frame(frames_.gadgets.signal_return, registers, frames_.extended_state, mask);
  std::ranges::copy(frame, bytes_.begin() + static_cast<std::ptrdiff_t>(index * kFrameBytes));
}

user_regs_struct CallChain::entry() const {
  user_regs_struct registers = frames_.registers;
  registers.rip = frames_.gadgets.signal_return.value;
  registers.rsp = place_.value + sizeof(std::uint64_t);  // as when a `ret` has led there
  registers.rax = 0;
  registers.orig_rax = ~std::uint64_t{0};
  return registers;
}

std::optional<StoredResult> CallChain::result_in(std::span<const std::byte> content, std::size_t index,
                                                 const RemoteCaller::StoringCall& call) {
  const std::size_t bytes = call.result == RemoteCaller::kReturned ? sizeof(std::int64_t) : RemoteCaller::kStoredBytes;
  StoredResult result{};
  std::ranges::copy(content.subspan(index * kFrameBytes + kResult, bytes), result.begin());
  if (std::ranges::all_of(std::span(result).first(bytes), [](std::byte byte) { return byte == kNothing; }))
    return std::nullopt;
  return result;
}

namespace {

// Where the last call sends its signal a thread that is still traced stops. Whether it came there. An error on the way
// leaves the chain where it is: the thread may still be on it.
bool run_to_end_of_chain(const ChainedThread& thread, const user_regs_struct& entry) {
  constexpr int kMostStrays = 1000;  // somebody who sends that signal without end must not hold the program for ever
  constexpr std::uint64_t kSystemCallBytes = 2;
  const RemoteAddress end_of_call = thread.frames.gadgets.syscall_return + kSystemCallBytes;
  ptrace::set_registers(thread.tid, entry);
  int signal = 0;
  int strays = 0;
  while (true) {
    ptrace::resume(PTRACE_CONT, thread.tid, signal);
    const WaitStatus status = ptrace::wait_for_stop(thread.tid);
    signal = status.signal_delivery_stop() ? status.signal() : 0;
    if (signal == 0 || signal == SIGSTOP) continue;
    const user_regs_struct here = ptrace::registers(thread.tid);
    const bool at_end = here.rip == end_of_call.value && here.rsp == thread.end.stack_pointer.value;
    // The same signal may also come from elsewhere, and is ignored.
    if (signal == thread.end.signal && !at_end && ++strays < kMostStrays) continue;
    ptrace::set_signal_mask(thread.tid, thread.frames.signal_mask);
    return signal == thread.end.signal && at_end;
  }
}

}  // namespace

std::optional<std::vector<StoredResult>> run_chain(const ChainedThread& thread, const RemoteMemory& memory,
                                                   RemoteAddress place,
                                                   std::span<const RemoteCaller::StoringCall> calls) {
  const CallChain chain(place, thread.frames, calls, thread.end);
  std::vector<std::byte> content(chain.bytes().size());
  memory.read(place, content);
  const std::vector<std::byte> original = content;
  memory.write(place, chain.bytes());
  const bool at_end = run_to_end_of_chain(thread, chain.entry());
  memory.read(place, content);
  memory.write(place, original);
  std::vector<StoredResult> results;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const auto result = CallChain::result_in(content, i, calls[i]);
    if (!at_end || !result) return std::nullopt;
    results.push_back(*result);
  }
  return results;
}

// A traced thread is shown even a signal that is ignored (ptrace(2), "Signal-delivery-stop"); an untraced one loses it.
std::optional<CallChain::End> end_with_signal(pid_t tid, std::uint64_t all_signals, std::uint64_t blocked_signals,
                                              std::optional<std::uint64_t> blocked_by_main,
                                              RemoteAddress stack_pointer) {
  const auto bit_of = [](int signal) { return std::uint64_t{1} << (signal - 1); };
  const ProcessStatus status = ProcessStatus::of(tid);
  // A shadow stack knows nothing of the frames' return addresses (Documentation/arch/x86/shstk.rst).
  if (status.field("x86_Thread_features").value_or("").find("shstk") != std::string_view::npos) return std::nullopt;
  // If the tracer dies on the way, the rest of the calls is made under the program's filters.
  if (status.number("Seccomp") != 0) return std::nullopt;
  const std::uint64_t ignored_by_default = bit_of(SIGWINCH) | bit_of(SIGURG) | bit_of(SIGCHLD);  // signal(7)
  const std::uint64_t pending = status.hexadecimal("SigPnd") | status.hexadecimal("ShdPnd");
  // What is blocked is not ignored but waits for whoever reads it (signalfd(2), sigwait(3)). Whether one that is sent
  // to the process is, decides its main thread.
  const std::uint64_t awaited =
      blocked_by_main ? *blocked_by_main
                      : ProcessStatus::of(static_cast<pid_t>(status.number("Tgid"))).hexadecimal("SigBlk");
  const std::uint64_t free = (status.hexadecimal("SigIgn") | (ignored_by_default & ~status.hexadecimal("SigCgt"))) &
                             ~(pending | blocked_signals | awaited);
  for (const int signal : {SIGWINCH, SIGURG, SIGPIPE, SIGCHLD, SIGUSR1, SIGUSR2, SIGHUP, SIGINT, SIGQUIT, SIGALRM}) {
    if ((free & bit_of(signal)) == 0) continue;
    return CallChain::End{.number = SYS_tgkill,
                          .arguments = {status.numbers("NStgid").back(), status.numbers("NSpid").back(),
                                        static_cast<std::uint64_t>(signal)},
                          .signal_mask = all_signals & ~bit_of(signal),
                          .stack_pointer = stack_pointer,
                          .signal = signal};
  }
  return std::nullopt;
}

}  // namespace crs::engine
