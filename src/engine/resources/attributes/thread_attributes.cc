// The part of attributes.h that each thread has of its own.

#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/procfs/status.h"
#include "engine/resources/attributes/attributes.h"
#include "engine/resources/attributes/scheduling.h"

namespace crs::engine {
namespace {

constexpr std::size_t kLongestName = 15;
constexpr int kSetIoFlusher = 57;         // PR_SET_IO_FLUSHER, 5.6
constexpr int kGetUserDispatch = 0x4211;  // PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, 6.4
// Of the kernel's task flags (include/linux/sched.h), shown as the ninth field of /proc/PID/stat: that the thread chose
// a machine check policy, and the two that PR_SET_IO_FLUSHER sets. They have had these values since the settings exist.
// Looking here saves asking every thread for what hardly any has.
constexpr std::uint64_t kMachineCheckProcess = 0x00000080;
constexpr std::uint64_t kIoFlusher = 0x00180000;

constexpr int kMachineCheckDefault = PR_MCE_KILL_DEFAULT;

std::uint64_t task_flags(pid_t tid) {
  const std::string text = read_task_file(tid, "stat");
  // The name stands in parentheses and may hold anything: fields are counted from the last one.
  std::string_view rest = std::string_view(text).substr(std::min(text.rfind(')'), text.size()));
  constexpr int kFieldsAfterName = 7;
  for (int field = 0; field < kFieldsAfterName; ++field) rest.remove_prefix(std::min(rest.find(' ') + 1, rest.size()));
  std::uint64_t flags = 0;
  if (std::from_chars(rest.data(), rest.data() + rest.size(), flags).ec != std::errc{}) {
    fail(ErrorKind::Failed, "cannot read the flags in /proc/{}/stat", tid);
  }
  return flags;
}

std::uint32_t personality_of(pid_t tid) {
  const std::string text = read_task_file(tid, "personality");
  std::uint32_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value, 16).ec != std::errc{}) {
    fail(ErrorKind::Failed, "cannot read /proc/{}/personality", tid);
  }
  return value;
}

std::string name_of(pid_t tid) {
  std::string name = read_task_file(tid, "comm");
  if (name.ends_with('\n')) name.pop_back();
  return name;
}

// What PR_SET_SPECULATION_CTRL takes to get to what /proc/PID/status calls `state`; 0 if the thread did not set
// anything.
std::uint32_t speculation_control(std::string_view state) {
  if (state.find("force") != std::string_view::npos) return PR_SPEC_FORCE_DISABLE;
  if (state == "thread mitigated" || state == "conditional disabled") return PR_SPEC_DISABLE;
  return 0;
}

void refuse_user_dispatch(CaptureContext& context, pid_t tid) {
  struct {
    std::uint64_t mode = 0;  // PR_SYS_DISPATCH_OFF
    std::uint64_t selector = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  } configuration;
  const auto request = static_cast<__ptrace_request>(kGetUserDispatch);
  if (::ptrace(request, tid, sizeof configuration, &configuration) != 0 || configuration.mode == 0) return;
  context.refusals.add(fmt::format("thread {} of process {} uses system call user dispatch (as Wine does)",
                                   innermost_id(tid), context.own_pid),
                       "it cannot be kept");
}

void capture_rare_settings(RemoteCaller& thread, const ProcessStatus& status, image::ThreadAttributes& attributes) {
  const std::uint64_t flags = task_flags(thread.tid());
  attributes.set_machine_check_policy(kMachineCheckDefault);
  if ((flags & kMachineCheckProcess) != 0) {
    attributes.set_machine_check_policy(
        static_cast<std::uint32_t>(thread.call("prctl(PR_MCE_KILL_GET)", SYS_prctl, PR_MCE_KILL_GET, 0, 0, 0, 0)));
  }
  attributes.set_io_flusher((flags & kIoFlusher) == kIoFlusher);
  attributes.set_store_bypass_control(speculation_control(status.field("Speculation_Store_Bypass").value_or("")));
  attributes.set_indirect_branch_control(speculation_control(status.field("SpeculationIndirectBranch").value_or("")));
}

void restore_name(RemoteCaller& thread, const std::string& wanted) {
  std::array<char, kLongestName + 1> name{};
  wanted.copy(name.data(), kLongestName);
  thread.call("prctl(PR_SET_NAME)", SYS_prctl, PR_SET_NAME, thread.put(name));
}

void restore_personality(RemoteCaller& thread, std::uint32_t wanted) {
  if (personality_of(thread.tid()) != wanted) thread.call("personality", SYS_personality, wanted);
}

void restore_speculation(RestoreContext& context, RemoteCaller& thread, std::uint64_t kind, std::uint64_t control) {
  if (control == 0) return;
  if (thread.raw_call(SYS_prctl, {PR_SET_SPECULATION_CTRL, kind, control, 0, 0, 0}) != 0) {
    add_once(
        context.notes,
        "a protection against speculative execution that the program had asked for cannot be had on this processor");
  }
}

void restore_rare_settings(RestoreContext& context, RemoteCaller& thread, const image::ThreadAttributes& attributes) {
  if (attributes.machine_check_policy() != kMachineCheckDefault) {
    thread.call("prctl(PR_MCE_KILL)", SYS_prctl, PR_MCE_KILL, PR_MCE_KILL_SET, attributes.machine_check_policy(), 0, 0);
  }
  if (attributes.io_flusher() && thread.raw_call(SYS_prctl, {kSetIoFlusher, 1, 0, 0, 0, 0}) != 0) {
    add_once(context.notes, "the I/O flusher attribute could not be set: that takes CAP_SYS_RESOURCE");
  }
  restore_speculation(context, thread, PR_SPEC_STORE_BYPASS, attributes.store_bypass_control());
  restore_speculation(context, thread, PR_SPEC_INDIRECT_BRANCH, attributes.indirect_branch_control());
}

bool parent_is_caller(pid_t pid) {
  return ProcessStatus::of(pid).number("PPid") == static_cast<std::uint64_t>(::getpid());
}

}  // namespace

void foresee_thread_attributes(Questions& questions) {
  questions.of_thread.push_back({SYS_prctl, {PR_GET_TIMERSLACK}, RemoteCaller::kReturned});
  questions.of_thread.push_back({SYS_prctl, {PR_GET_PDEATHSIG}, 1});
}

void capture_thread_attributes(CaptureContext& context, RemoteCaller& thread, image::ThreadAttributes& attributes) {
  const pid_t tid = thread.tid();
  refuse_user_dispatch(context, tid);
  attributes.set_name(name_of(tid));
  attributes.set_personality(personality_of(tid));
  capture_scheduling(context, tid, attributes);
  attributes.set_timer_slack(
      static_cast<std::uint64_t>(thread.call("prctl(PR_GET_TIMERSLACK)", SYS_prctl, PR_GET_TIMERSLACK)));
  thread.call("prctl(PR_GET_PDEATHSIG)", SYS_prctl, PR_GET_PDEATHSIG, thread.scratch());
  attributes.set_parent_death_signal(thread.get<std::uint32_t>());
  capture_rare_settings(thread, context.statuses.of(tid), attributes);
}

void look_at_thread_attributes(CaptureContext& context, pid_t tid) {
  image::ThreadAttributes ignored;
  refuse_user_dispatch(context, tid);
  capture_scheduling(context, tid, ignored);
}

void check_thread_attributes(CheckContext&, const image::ThreadAttributes& attributes) {
  if (attributes.name().size() > kLongestName)
    fail(ErrorKind::Damaged, "a thread's name has {} bytes", attributes.name().size());
  if (attributes.parent_death_signal() > 64)
    fail(ErrorKind::Damaged, "there is no signal {}", attributes.parent_death_signal());
  check_scheduling(attributes);
}

void restore_thread_attributes(RestoreContext& context, RemoteCaller& thread,
                               const image::ThreadAttributes& attributes) {
  restore_name(thread, attributes.name());
  restore_personality(thread, attributes.personality());
  restore_scheduling(thread.tid(), attributes, context.notes);
  if (attributes.timer_slack() != 0) {
    thread.call("prctl(PR_SET_TIMERSLACK)", SYS_prctl, PR_SET_TIMERSLACK, attributes.timer_slack());
  }
  restore_rare_settings(context, thread, attributes);
}

void finish_thread_attributes(RestoreContext& context, RemoteCaller& thread,
                              const image::ThreadAttributes& attributes) {
  std::uint32_t signal = attributes.parent_death_signal();
  if (signal != 0 && context.options.detach && (context.parent_ends || parent_is_caller(context.pid))) {
    add_once(context.notes, "the parent-death signal is not set: a detached program outlives its parent");
    signal = 0;
  }
  // The main thread's is the newborn's own until now (newborn/maker.cc).
  const bool main_thread = thread.tid() == context.pid;
  if (signal != 0 || main_thread) thread.call("prctl(PR_SET_PDEATHSIG)", SYS_prctl, PR_SET_PDEATHSIG, signal);
}

}  // namespace crs::engine
