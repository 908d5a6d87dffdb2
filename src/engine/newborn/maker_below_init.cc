#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <optional>

#include "base/error.h"
#include "base/io.h"
#include "engine/newborn/init.h"
#include "engine/newborn/maker.h"

namespace crs::engine {
namespace {

void write_file(const std::string& path, std::string_view text) {
  const FileDescriptor file = open_file(path, O_WRONLY);
  write_all(file.get(), path, as_byte_span(text));
}

// user_namespaces(7): an ordinary user maps exactly their own ids, and only after giving up setgroups(2).
void map_own_ids(pid_t init) {
  write_file(fmt::format("/proc/{}/setgroups", init), "deny");
  write_file(fmt::format("/proc/{}/uid_map", init), fmt::format("{0} {0} 1", ::geteuid()));
  write_file(fmt::format("/proc/{}/gid_map", init), fmt::format("{0} {0} 1", ::getegid()));
}

// Process ids in /proc must be those that the program sees.
void mount_own_proc() {
  if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) fail_errno(errno, "cannot make mounts private");
  if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    fail_errno(errno, "cannot mount /proc");
}

[[noreturn]] void live_as_init(Channel& to_command, StopReport& stops, pid_t pid,
                               const std::optional<ClockStart>& clocks, Channel& newborn_channel,
                               const Maker::Life& life) {
  try {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    to_command.receive(kPatienceSeconds);  // the ids are mapped
    try {
      mount_own_proc();
    } catch (const Error& error) {
      to_command.send(kNoteMessage,
                      fmt::format("{}: in /proc the program finds process ids other than its own", error.what()));
    }
    const pid_t program = with_clocks(
        clocks, [&](const std::string& note) { to_command.send(kNoteMessage, note); },
        [&](const ClocksOfChildren*) { return clone_process(0, pid, SIGCHLD); });
    if (program == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      to_command.close();
      stops.close();
      life(std::move(newborn_channel));
      ::_exit(1);  // it does not return
    }
    newborn_channel.close();
    to_command.send(kReadyMessage);
    run_init(program, to_command, stops);
  } catch (const std::exception& error) {
    to_command.send_error(error);
  }
  ::_exit(1);
}

class MakerBelowInit final : public Maker {
 public:
  MakerBelowInit(const IdPlan& plan, pid_t wanted)
      : with_user_namespace_(plan.way == IdPlan::Way::UserNamespace),
        with_ipc_namespace_(plan.ipc_namespace),
        clocks_(plan.clocks),
        wanted_(wanted) {}

  Channel make(const Life& life, std::vector<std::string>& notes) override {
    auto [mine, theirs] = Channel::make();
    auto [to_init, from_init] = Channel::make();
    StopReport stops;
    init_ = clone_process(namespaces(), 0, SIGCHLD);
    if (init_ == 0) {
      block_all_signals();
      mine.close();
      to_init.close();
      live_as_init(from_init, stops, wanted_, clocks_, theirs, life);
    }
    theirs.close();
    from_init.close();
    to_init_ = std::move(to_init);
    if (with_user_namespace_) map_own_ids(init_);
    to_init_->send(kGoMessage);
    for (auto message = to_init_->receive(kPatienceSeconds); message.kind == kNoteMessage;
         message = to_init_->receive(kPatienceSeconds)) {
      notes.push_back(message.text);
    }
    return std::move(mine);
  }

  pid_t init() const override { return init_; }

  // Only after its answer may this process end: until then its end is the init's and so the program's.
  void release() override {
    to_init_->send(kGoMessage);
    to_init_->receive(kPatienceSeconds);
  }

 private:
  std::uint64_t namespaces() const {
    std::uint64_t flags = CLONE_NEWPID | CLONE_NEWNS;
    if (with_user_namespace_) flags |= CLONE_NEWUSER;
    if (with_ipc_namespace_) flags |= CLONE_NEWIPC;
    return flags;
  }

  bool with_user_namespace_;
  bool with_ipc_namespace_;
  std::optional<ClockStart> clocks_;
  pid_t wanted_;
  pid_t init_ = 0;
  std::optional<Channel> to_init_;
};

}  // namespace

std::unique_ptr<Maker> make_maker_below_init(const IdPlan& plan, pid_t wanted) {
  return std::make_unique<MakerBelowInit>(plan, wanted);
}

}  // namespace crs::engine
