#include "engine/newborn/maker.h"

#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/error.h"
#include "engine/tracee/id_taken.h"

namespace crs::engine {
namespace {

class MakerOfChild final : public Maker {
 public:
  MakerOfChild(const IdPlan& plan, pid_t wanted) : clocks_(plan.clocks), wanted_(wanted) {}

  Channel make(const Life& life, std::vector<std::string>& notes) override {
    auto [mine, theirs] = Channel::make();
    child_ = with_clocks(
        clocks_, [&](const std::string& note) { notes.push_back(note); },
        [&](const ClocksOfChildren*) { return clone_process(0, wanted_, SIGCHLD); });
    if (child_ == 0) {
      block_all_signals();
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      mine.close();
      life(std::move(theirs));
    }
    return std::move(mine);
  }
  pid_t program() const override { return child_; }

 private:
  std::optional<ClockStart> clocks_;
  pid_t wanted_;
  pid_t child_ = 0;
};

}  // namespace

pid_t clone_process(std::uint64_t flags, pid_t wanted, int exit_signal) {
  clone_args arguments{};
  arguments.flags = flags;
  arguments.exit_signal = static_cast<std::uint64_t>(exit_signal);
  if (wanted != 0) {
    arguments.set_tid = reinterpret_cast<std::uint64_t>(&wanted);
    arguments.set_tid_size = 1;
  }
  long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  // Containers' seccomp filters hide clone3(2), whose flags they cannot read; no id can be chosen then.
  if (pid < 0 && (errno == ENOSYS || errno == EPERM) && wanted == 0)
    pid = ::syscall(SYS_clone, flags | static_cast<std::uint64_t>(exit_signal), 0, 0, 0, 0);
  if (pid >= 0) return static_cast<pid_t>(pid);
  fail_to_make("process", errno, wanted);
}

namespace {

// The child begins behind the system call with nothing but its registers.
long clone_with_stack(const clone_args& arguments, void (*life)(void*), void* argument) {
  long result = SYS_clone3;  // NOLINT(misc-const-correctness): the system call changes it
  register auto life_register __asm__("r12") = life;
  register auto argument_register __asm__("r13") = argument;
  __asm__ volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"
      "movq %%r13, %%rdi\n\t"
      "callq *%%r12\n\t"
      "ud2\n"
      "1:"
      : "+a"(result)
      : "D"(&arguments), "S"(sizeof arguments), "r"(life_register), "r"(argument_register)
      : "rcx", "r11", "memory");
  return result;
}

}  // namespace

pid_t clone_into_same_memory(std::uint64_t flags, pid_t wanted, int exit_signal, void (*life)(void*), void* argument) {
  constexpr std::size_t kStackBytes = std::size_t{1} << 20;
  void* const stack = ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stack == MAP_FAILED) fail_errno(errno, "cannot make a stack for process {}", wanted);
  clone_args arguments{};
  arguments.flags = flags;
  arguments.exit_signal = static_cast<std::uint64_t>(exit_signal);
  arguments.set_tid = reinterpret_cast<std::uint64_t>(&wanted);
  arguments.set_tid_size = 1;
  arguments.stack = reinterpret_cast<std::uint64_t>(stack);
  arguments.stack_size = kStackBytes;
  const long pid = clone_with_stack(arguments, life, argument);
  if (pid < 0) fail_to_make("process", static_cast<int>(-pid), wanted);
  return static_cast<pid_t>(pid);
}

void block_all_signals() {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
}

std::unique_ptr<Maker> make_maker_of_child(const IdPlan& plan, pid_t wanted) {
  return std::make_unique<MakerOfChild>(plan, wanted);
}

std::unique_ptr<Maker> make_maker(const IdPlan& plan, pid_t pid) {
  switch (plan.way) {
    case IdPlan::Way::Caller:
      return make_maker_of_caller(plan);
    case IdPlan::Way::UserNamespace:
    case IdPlan::Way::ProcessNamespace:
      return make_maker_below_init(plan, pid);
    case IdPlan::Way::Fresh:
    case IdPlan::Way::InPlace:
      break;
  }
  const pid_t wanted = plan.way == IdPlan::Way::Fresh ? 0 : pid;
  return plan.orphan ? make_maker_of_orphan(plan, wanted) : make_maker_of_child(plan, wanted);
}

}  // namespace crs::engine
