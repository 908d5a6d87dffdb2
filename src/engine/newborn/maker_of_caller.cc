// The calling process becomes the program. It forks a helper, which traces it and goes on as the restart command; the
// caller itself lives the life of a newborn. The helper is nobody's child whom the program could notice: its own parent
// ends at once, and without a signal.
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/error.h"
#include "base/no_process.h"
#include "engine/newborn/maker.h"
#include "engine/tracee/ptrace.h"

namespace crs::engine {
namespace {

constexpr char kHelloMessage = 'H';

class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() {
    if (!stays_) ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  void stay() { stays_ = true; }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
  bool stays_ = false;
};

// execve(2) leaves them running; a snapshot's own are set later.
void stop_timers() {
  const itimerval off{};
  for (const auto timer : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF}) ::setitimer(timer, &off, nullptr);
}

class MakerOfCaller final : public Maker {
 public:
  explicit MakerOfCaller(const IdPlan& plan) : clocks_(plan.clocks) {}

  // Returns in the helper, with all signals blocked there. Throws in the caller while that is still whole.
  Channel make(const Life& life, std::vector<std::string>& /*notes*/) override {
    caller_ = ::getpid();
    auto [mine, theirs] = Channel::make();
    // A process that adopts orphans would adopt the helper; a snapshot says whether the program does.
    ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    SignalsBlocked blocked;
    if (fork_orphan()) {
      theirs.close();
      ::setsid();
      attach(mine);
      blocked.stay();
      return std::move(mine);
    }
    mine.close();
    hand_over(theirs);
    stop_timers();
    enter_clocks();
    life(std::move(theirs));
    ::_exit(1);
  }

  pid_t program() const override { return caller_; }
  bool traces() const override { return true; }
  bool is_parent() const override { return false; }

 private:
  // True in the orphan. The C library's fork(2) makes it, so that it may have threads; it has an ordinary parent only
  // for a moment.
  static bool fork_orphan() {
    const pid_t between = clone_process(0, 0, 0);
    if (between == 0) {
      const pid_t orphan = ::fork();
      if (orphan == 0) return true;
      ::_exit(orphan > 0 ? 0 : errno);
    }
    int status = 0;
    while (::waitpid(between, &status, __WCLONE) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
      throw no_process("cannot make a helper process", WIFEXITED(status) ? WEXITSTATUS(status) : EINTR);
    return false;
  }

  // In the caller: names the helper as its tracer where only named ones may be (Yama: PR_SET_PTRACER of prctl(2)), and
  // waits until it is that. From then on the end of either is the end of both.
  static void hand_over(const Channel& channel) {
    const pid_t helper = channel.receive(kPatienceSeconds).sender;
    ::prctl(PR_SET_PTRACER, helper, 0, 0, 0);
    channel.send(kGoMessage);
    channel.receive(kPatienceSeconds);
  }

  // In the caller. Nobody can be told any more where they cannot be had.
  void enter_clocks() const {
    with_clocks(
        clocks_, [](const std::string&) {},
        [](ClocksOfChildren* made) {
          if (made != nullptr) made->enter();
        });
  }

  // In the helper.
  void attach(const Channel& channel) const {
    try {
      channel.send(kHelloMessage);
      channel.receive(kPatienceSeconds);
      ptrace::seize(caller_, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD);
      channel.send(kReadyMessage);
    } catch (const std::exception& error) {
      channel.send_error(error);
      ::_exit(1);
    }
  }

  std::optional<ClockStart> clocks_;
  pid_t caller_ = 0;
};

}  // namespace

std::unique_ptr<Maker> make_maker_of_caller(const IdPlan& plan) { return std::make_unique<MakerOfCaller>(plan); }

}  // namespace crs::engine
