#include "engine/tracee/ptrace.h"

#include <elf.h>
#include <fmt/format.h>
#include <linux/audit.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>

#include "base/error.h"
#include "engine/procfs/status.h"
#include "engine/tracee/control_group.h"

namespace crs::engine::ptrace {
namespace {

// The C library's wrapper takes pointers for what are numbers in many requests.
void* as_pointer(unsigned long value) { return reinterpret_cast<void*>(value); }  // NOLINT(performance-no-int-to-ptr)

long request(int number, const char* name, pid_t tid, void* address, void* data) {
  const long result = ::ptrace(static_cast<__ptrace_request>(number), tid, address, data);
  if (result >= 0) return result;
  if (errno == ESRCH) fail(ErrorKind::ProgramGone, "thread {} ended or was killed meanwhile", tid);
  fail_errno(errno, "{} of thread {}", name, tid);
}

constexpr std::size_t kSignalSetBytes = 8;            // of the kernel's sigset_t
constexpr std::size_t kLargestExtendedState = 65536;  // AMX needs about 11 KiB today

// A thread that is let run for one call is back soon, while going to sleep and being woken takes long: measured on two
// virtual processors, a word and its answer took 50 to 60 us between two that sleep on different ones. Beyond this the
// thread waits for a processor or for a device.
constexpr std::chrono::microseconds kAtOnce{50};

// Whether the other thread can get on while this one does not sleep. Asked once: hardly anybody changes that meanwhile,
// and then it is a matter of speed alone.
bool has_other_processor() {
  static const bool has = [] {
    cpu_set_t processors;
    return ::sched_getaffinity(0, sizeof processors, &processors) != 0 || CPU_COUNT(&processors) > 1;
  }();
  return has;
}

}  // namespace

void seize(pid_t tid, unsigned long options) {
  request(PTRACE_SEIZE, "PTRACE_SEIZE", tid, nullptr, as_pointer(options));
}

void interrupt(pid_t tid) { request(PTRACE_INTERRUPT, "PTRACE_INTERRUPT", tid, nullptr, nullptr); }

void set_options(pid_t tid, unsigned long options) {
  request(PTRACE_SETOPTIONS, "PTRACE_SETOPTIONS", tid, nullptr, as_pointer(options));
}

bool try_set_options(pid_t tid, unsigned long options) {
  try {
    set_options(tid, options);
    return true;
  } catch (const Error& error) {
    if (error.error_number() != EPERM && error.error_number() != EINVAL) throw;
    return false;
  }
}

void resume(int number, pid_t tid, int signal) {
  request(number, "continuing", tid, nullptr, as_pointer(static_cast<unsigned long>(signal)));
}

namespace {

user_regs_struct with_call(const user_regs_struct& at, long number, const std::array<std::uint64_t, 6>& arguments) {
  user_regs_struct registers = at;
  registers.rax = static_cast<std::uint64_t>(number);
  registers.orig_rax = ~std::uint64_t{0};  // this thread is not inside a call that would have to be restarted
  registers.rdi = arguments[0];
  registers.rsi = arguments[1];
  registers.rdx = arguments[2];
  registers.r10 = arguments[3];
  registers.r8 = arguments[4];
  registers.r9 = arguments[5];
  return registers;
}

}  // namespace

std::int64_t make_interrupted_call(pid_t tid, const user_regs_struct& at, long number,
                                   const std::array<std::uint64_t, 6>& arguments) {
  set_registers(tid, with_call(at, number, arguments));
  run_to_system_call_stop(tid);
  interrupt(tid);
  run_to_system_call_stop(tid);
  return static_cast<std::int64_t>(ptrace::registers(tid).rax);
}

SystemCallResult make_system_call(pid_t tid, const user_regs_struct& at, long number,
                                  const std::array<std::uint64_t, 6>& arguments) {
  set_registers(tid, with_call(at, number, arguments));
  run_to_system_call_stop(tid);
  const pid_t created = run_to_system_call_stop(tid);
  return {static_cast<std::int64_t>(ptrace::registers(tid).rax), created};
}

pid_t created_by(const SystemCallResult& clone, pid_t tid) {
  if (clone.value < 0) fail_errno(static_cast<int>(-clone.value), "clone of process {}", tid);
  if (clone.created_thread <= 0) fail(ErrorKind::Failed, "clone of process {} has made nothing", tid);
  return clone.created_thread;
}

pid_t run_to_system_call_stop(pid_t tid) {
  int signal = 0;
  pid_t created = 0;
  while (true) {
    resume(PTRACE_SYSCALL, tid, signal);
    const WaitStatus status = wait_for_stop(tid);
    if (status.syscall_stop()) return created;
    if (status.event() == PTRACE_EVENT_CLONE) created = static_cast<pid_t>(event_message(tid));
    signal = status.signal_delivery_stop() ? status.signal() : 0;
    // All signals that can be are blocked; what remains beside SIGSTOP are faults, which would be this program's own
    // mistake.
    if (signal != 0 && signal != SIGSTOP)
      fail(ErrorKind::Failed, "a remote call in thread {} ended in signal {}", tid, signal);
  }
}

bool detach(pid_t tid, int signal) noexcept {
  return ::ptrace(PTRACE_DETACH, tid, nullptr, as_pointer(static_cast<unsigned long>(signal))) == 0;
}

user_regs_struct registers(pid_t tid) {
  user_regs_struct result{};
  request(PTRACE_GETREGS, "PTRACE_GETREGS", tid, nullptr, &result);
  return result;
}

void set_registers(pid_t tid, const user_regs_struct& registers) {
  request(PTRACE_SETREGS, "PTRACE_SETREGS", tid, nullptr, const_cast<user_regs_struct*>(&registers));
}

std::vector<std::byte> extended_state(pid_t tid) {
  std::vector<std::byte> state(kLargestExtendedState);
  iovec vector{state.data(), state.size()};
  request(PTRACE_GETREGSET, "PTRACE_GETREGSET", tid, as_pointer(NT_X86_XSTATE), &vector);
  state.resize(vector.iov_len);
  return state;
}

void set_extended_state(pid_t tid, const std::vector<std::byte>& state) {
  iovec vector{const_cast<std::byte*>(state.data()), state.size()};
  request(PTRACE_SETREGSET, "PTRACE_SETREGSET", tid, as_pointer(NT_X86_XSTATE), &vector);
}

std::uint64_t signal_mask(pid_t tid) {
  std::uint64_t mask = 0;
  request(PTRACE_GETSIGMASK, "PTRACE_GETSIGMASK", tid, as_pointer(kSignalSetBytes), &mask);
  return mask;
}

void set_signal_mask(pid_t tid, std::uint64_t mask) {
  request(PTRACE_SETSIGMASK, "PTRACE_SETSIGMASK", tid, as_pointer(kSignalSetBytes), &mask);
}

void end(pid_t pid) noexcept {
  if (pid <= 0) return;  // kill(2) takes such a number for a group
  ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, __WALL) == pid && !WIFEXITED(status) && !WIFSIGNALED(status)) {
  }
}

unsigned long event_message(pid_t tid) {
  unsigned long message = 0;
  request(PTRACE_GETEVENTMSG, "PTRACE_GETEVENTMSG", tid, nullptr, &message);
  return message;
}

bool is_in_32_bit_call(pid_t tid) {
  constexpr int kGetSystemCall = 0x420e;  // PTRACE_GET_SYSCALL_INFO
  // The beginning of struct ptrace_syscall_info (linux/ptrace.h): the kernel writes no more than it is given room for.
  struct {
    std::uint8_t operation;
    std::array<std::uint8_t, 3> padding;
    std::uint32_t architecture;
  } information{};
  const auto number = static_cast<__ptrace_request>(kGetSystemCall);
  return ::ptrace(number, tid, as_pointer(sizeof information), &information) > 0 &&
         information.architecture == AUDIT_ARCH_I386;
}

RseqConfiguration rseq_configuration(pid_t tid) {
  __ptrace_rseq_configuration raw{};
  request(PTRACE_GET_RSEQ_CONFIGURATION, "PTRACE_GET_RSEQ_CONFIGURATION", tid, as_pointer(sizeof raw), &raw);
  return {raw.rseq_abi_pointer, raw.rseq_abi_size, raw.signature};
}

std::optional<std::vector<std::byte>> seccomp_filter(pid_t tid, unsigned long index) {
  constexpr std::size_t kInstructionBytes = 8;
  try {
    const char* const name = "PTRACE_SECCOMP_GET_FILTER";
    const long length = request(PTRACE_SECCOMP_GET_FILTER, name, tid, as_pointer(index), nullptr);
    std::vector<std::byte> program(static_cast<std::size_t>(length) * kInstructionBytes);
    request(PTRACE_SECCOMP_GET_FILTER, name, tid, as_pointer(index), program.data());
    return program;
  } catch (const Error& error) {
    if (error.error_number() == ENOENT) return std::nullopt;
    throw;
  }
}

std::uint64_t seccomp_filter_flags(pid_t tid, unsigned long index) {
  __ptrace_seccomp_metadata metadata{};
  metadata.filter_off = index;
  request(PTRACE_SECCOMP_GET_METADATA, "PTRACE_SECCOMP_GET_METADATA", tid, as_pointer(sizeof metadata), &metadata);
  return metadata.flags;
}

std::string advice_about_wait(pid_t tid) {
  const std::string group = frozen_group_of(tid);
  if (!group.empty()) {
    return fmt::format("Its control group {} is frozen (systemctl freeze, docker pause): thaw it, and try again",
                       group);
  }
  return "It is in an uninterruptible wait (a disk, a network file system, a child of vfork); try again later";
}

namespace {

// A thread that only waits for a processor, among thousands say, stops as soon as it has one.
void fail_if_stuck(pid_t tid, std::chrono::nanoseconds waited) {
  const ProcessStatus status = ProcessStatus::of(tid);
  const bool waits_for_processor = status.field("State").value_or("").starts_with('R');
  if (waits_for_processor && waited < kBusyTimeLimit) return;
  throw Error(ErrorKind::Failed, fmt::format("thread {} did not stop within {} s", tid,
                                             std::chrono::duration_cast<std::chrono::seconds>(waited).count()))
      .advise(waits_for_processor ? "It gets no processor: let the machine do less, and try again"
                                  : advice_about_wait(tid));
}

}  // namespace

WaitStatus wait(pid_t tid, const std::function<void()>& meanwhile) {
  constexpr std::int64_t kNowAndThen = 20'000'000;  // nanoseconds
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  const auto begin = std::chrono::steady_clock::now();
  auto deadline = begin + kStopTimeLimit;
  const bool may_be_at_once = has_other_processor();
  while (true) {
    int raw = 0;
    const pid_t got = ::waitpid(tid, &raw, WNOHANG | __WALL);
    if (got == tid) return WaitStatus(raw);
    if (got < 0 && errno == ECHILD) fail(ErrorKind::ProgramGone, "thread {} ended or was killed meanwhile", tid);
    if (got < 0) fail_errno(errno, "waiting for thread {}", tid);
    const auto now = std::chrono::steady_clock::now();
    if (may_be_at_once && now - begin < kAtOnce) continue;
    std::int64_t left = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - now).count();
    if (left <= 0) {
      fail_if_stuck(tid, now - begin);
      deadline += kStopTimeLimit;
      continue;
    }
    if (meanwhile) left = std::min(left, kNowAndThen);
    const timespec limit{static_cast<time_t>(left / 1000000000), static_cast<long>(left % 1000000000)};
    if (::sigtimedwait(&child, nullptr, &limit) < 0 && meanwhile) meanwhile();
  }
}

WaitStatus wait_for_stop(pid_t tid, const std::function<void()>& meanwhile) {
  const WaitStatus status = wait(tid, meanwhile);
  if (status.ended()) fail(ErrorKind::ProgramGone, "thread {} {} meanwhile", tid, status.to_string());
  return status;
}

}  // namespace crs::engine::ptrace
