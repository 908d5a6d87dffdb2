#include "engine/newborn/family.h"

#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <unordered_set>

#include "base/error.h"
#include "base/io.h"
#include "engine/newborn/maker.h"
#include "engine/newborn/turn.h"
#include "engine/tracee/id_taken.h"

namespace crs::engine {
namespace {

void reap(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, __WALL) < 0 && errno == EINTR) {
  }
}

// Ends as the zombie ended.
[[noreturn]] void die(const std::string& name, int status) {
  ::prctl(PR_SET_NAME, name.c_str());
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    const rlimit none{};
    ::setrlimit(RLIMIT_CORE, &none);
    ::signal(signal, SIG_DFL);
    sigset_t one;
    ::sigemptyset(&one);
    ::sigaddset(&one, signal);
    ::kill(::getpid(), signal);
    ::sigprocmask(SIG_UNBLOCK, &one, nullptr);
  }
  ::_exit(WEXITSTATUS(status));
}

class Family {
 public:
  Family(Channel channel, const FamilyWork& work, Turn& turn)
      : channel_(std::move(channel)), work_(work), turn_(turn) {}

  [[noreturn]] void live(std::size_t index) {
    index_ = index;
    try {
      if (index == 0) begin();
      become_member();
      if (!me().helper && !me().zombie) become_process();
      if (me().zombie) die(me().name, me().exit_status);
      ::_exit(0);
    } catch (const IdTaken& taken) {
      try {
        channel_.send(kTakenMessage, std::to_string(taken.id()));
      } catch (const std::exception&) {  // nobody listens any more
      }
    } catch (Error& error) {
      if (!is_alone() && !works_for_all_) error.add_context(fmt::format("process {}", me().pid));
      channel_.send_error(error);
    } catch (const std::exception& error) {
      channel_.send_error(error);
    }
    ::_exit(1);
  }

 private:
  const KinshipMember& me() const { return work_.kinship.members()[index_]; }
  bool is_alone() const { return work_.kinship.members().size() == 1; }

  void begin() {
    // Descriptors may have to be moved above what the restart command itself may have.
    raise_descriptor_limit();
    channel_.move_above(work_.first_private_descriptor);
    works_for_all_ = true;
    work_.begin();
    works_for_all_ = false;
  }

  // Only when all are there can those that are no leaders join their groups, and only when they have may the helpers
  // and those that are zombies end.
  void become_member() {
    if (index_ != 0 && !me().helper && !me().zombie) work_.begin_descendant(index_);
    make_all(me().births_before_session);
    if (index_ != 0 && me().leads_session) {
      if (::setsid() < 0) fail_errno(errno, "cannot lead a session");
      if (!me().helper) work_.lead_session(index_);
    }
    make_all(me().births);
    leave(me().leaves);
    if (me().leads_group && ::setpgid(0, 0) != 0) fail_errno(errno, "cannot lead a process group");
    if (is_alone()) return work_.complete();
    keep_step(kBornMessage, kJoinStep);
    if (me().joins_group != 0 && ::setpgid(0, me().joins_group) != 0)
      fail_errno(errno, "cannot join process group {}", me().joins_group);
    if (index_ == 0) {
      works_for_all_ = true;
      work_.complete();
      works_for_all_ = false;
    }
    keep_step(kPlacedMessage, kPrepareStep);
    for (const pid_t helper : helpers_) reap(helper);
  }

  void keep_step(char message, std::uint32_t next) {
    channel_.send(message, std::to_string(index_));
    if (!turn_.give_while([&] { return work_.steps.wait(next, kPatienceSeconds); })) {
      fail(ErrorKind::Failed, "the restart command did not let a new process go on within {} s", kPatienceSeconds);
    }
  }

  void become_process() {
    // Their ends have been noticed before the checkpoint: signals of them are among those that are pending again.
    for (const pid_t zombie : me().zombies) {
      siginfo_t ended{};
      while (::waitid(P_PID, static_cast<id_t>(zombie), &ended, WEXITED | WNOWAIT | __WALL) != 0 && errno == EINTR) {
      }
    }
    say(work_.prepare(index_));
    if (work_.kinship.shares_tables()) {
      keep_step(kPreparedMessage, kPlaceStep);
      say(work_.place_descriptors(index_));
      keep_step(kTablePlacedMessage, kEnterStep);
      work_.enter_directories(index_);
    }
    channel_.send(kReadyMessage, std::to_string(index_));
    // Nobody ever writes: this wait ends by being taken over or by the end of the restart command.
    char nothing = 0;
    const auto descriptor = static_cast<std::uint64_t>(channel_.descriptor());
    turn_.give();
    while (system_call_alone(SYS_read, descriptor, address_of(&nothing), 1) == -EINTR) {
    }
    ::_exit(1);
  }

  void say(const std::vector<std::string>& notes) const {
    for (const std::string& note : notes) channel_.send(kNoteMessage, note);
  }

  static void leave(std::uint64_t tables) {
    if (tables != 0 && ::unshare(static_cast<int>(tables)) != 0) fail_errno(errno, "cannot leave a shared table");
  }

  void make_all(const std::vector<Birth>& births) {
    for (const Birth& birth : births) {
      leave(birth.leaves);
      make(birth);
    }
  }

  void make(const Birth& birth) {
    const KinshipMember& child = work_.kinship.members()[birth.member];
    if ((birth.shares & CLONE_VM) != 0) return make_in_same_memory(birth, child);
    if (birth.way == BirthWay::Orphan) return make_orphan(birth, child);
    // A sibling gets the exit signal of whoever makes it (clone(2)).
    const bool sibling = birth.way == BirthWay::Sibling;
    const pid_t made =
        clone_process(birth.shares | (sibling ? CLONE_PARENT : 0), child.pid, sibling ? 0 : child.exit_signal);
    if (made == 0) {
      if (!me().helper || birth.way != BirthWay::Child) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      begin_life(birth.member);
    }
    if (child.helper) helpers_.push_back(made);
  }

  // The child's own lasts until all that newborns have in memory is replaced.
  void make_in_same_memory(const Birth& birth, const KinshipMember& child) {
    auto* const childs = new Family(Channel(FileDescriptor(channel_.descriptor())), work_, turn_);
    childs->index_ = birth.member;
    childs->maker_ = ::getpid();
    clone_into_same_memory(birth.shares, child.pid, child.exit_signal, begin_in_same_memory, childs);
  }

  static void begin_in_same_memory(void* argument) {
    auto& family = *static_cast<Family*>(argument);
    // Before anything else, since a maker that ends gives nobody its turn.
    system_call_alone(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
    if (system_call_alone(SYS_getppid) != family.maker_) system_call_alone(SYS_exit_group, 1);
    family.turn_.take();
    family.live(family.index_);
  }

  // Whoever has no parent in the tree ends by itself when the restart command does.
  void make_orphan(const Birth& birth, const KinshipMember& child) {
    const pid_t between = clone_with_other_id(birth.shares);
    if (between != 0) return reap(between);
    try {
      const pid_t made = clone_process(birth.shares, child.pid, SIGCHLD);
      if (made == 0) begin_life(birth.member);
      ::_exit(0);
    } catch (const IdTaken& taken) {
      channel_.send(kTakenMessage, std::to_string(taken.id()));
    } catch (const std::exception& error) {
      channel_.send_error(error);
    }
    ::_exit(1);
  }

  // With an id that nobody of the tree is to have.
  pid_t clone_with_other_id(std::uint64_t shares) const {
    while (true) {
      const pid_t made = clone_process(shares, 0, SIGCHLD);
      const auto& members = work_.kinship.members();
      const pid_t id = made == 0 ? ::getpid() : made;
      if (std::ranges::find(members, id, &KinshipMember::pid) == members.end()) return made;
      if (made == 0) ::_exit(0);
      reap(made);
    }
  }

  [[noreturn]] void begin_life(std::size_t member) {
    helpers_.clear();
    live(member);
  }

  Channel channel_;
  const FamilyWork& work_;
  Turn& turn_;
  std::size_t index_ = 0;
  pid_t maker_ = 0;             // of one that has its memory
  bool works_for_all_ = false;  // what fails then names whose it is
  std::vector<pid_t> helpers_;  // children of this process
};

}  // namespace

void live_as_root(Channel channel, const FamilyWork& work) {
  Turn turn;
  turn.take();
  Family(std::move(channel), work, turn).live(0);
}

}  // namespace crs::engine
