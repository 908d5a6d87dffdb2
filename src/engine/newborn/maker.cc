#include "engine/newborn/maker.h"

#include <linux/sched.h>
#include <sched.h>
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
  explicit MakerOfChild(pid_t wanted) : wanted_(wanted) {}

  Channel make(const Life& life, std::vector<std::string>& /*notes*/) override {
    auto [mine, theirs] = Channel::make();
    child_ = clone_process(0, wanted_, SIGCHLD);
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

void block_all_signals() {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
}

std::unique_ptr<Maker> make_maker_of_child(pid_t wanted) { return std::make_unique<MakerOfChild>(wanted); }

std::unique_ptr<Maker> make_maker(const IdPlan& plan, pid_t pid) {
  switch (plan.way) {
    case IdPlan::Way::Caller:
      return make_maker_of_caller();
    case IdPlan::Way::UserNamespace:
    case IdPlan::Way::ProcessNamespace:
      return make_maker_below_init(plan, pid);
    case IdPlan::Way::Fresh:
      return make_maker_of_child(0);
    case IdPlan::Way::InPlace:
      break;
  }
  return make_maker_of_child(pid);
}

}  // namespace crs::engine
