// A child of a process that ends just before the program runs. A program that leaves the restart command, and parts of
// which are stopped, must be an orphan by then: when a process group becomes one (setpgid(2)) with a stopped process in
// it, as it would at that command's end, the kernel sends all of it SIGHUP.
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>

#include "base/error.h"
#include "engine/newborn/maker.h"
#include "engine/tracee/id_taken.h"

namespace crs::engine {
namespace {

class MakerOfOrphan final : public Maker {
 public:
  MakerOfOrphan(const IdPlan& plan, pid_t wanted)
      : clocks_(plan.clocks), wanted_(wanted), to_parent_(FileDescriptor()) {}
  ~MakerOfOrphan() override { end_parent(); }
  MakerOfOrphan(const MakerOfOrphan&) = delete;
  MakerOfOrphan& operator=(const MakerOfOrphan&) = delete;

  Channel make(const Life& life, std::vector<std::string>& notes) override {
    auto [mine, theirs] = Channel::make();
    auto [to_parent, from_parent] = Channel::make();
    parent_ = clone_process(0, 0, SIGCHLD);
    if (parent_ == 0) {
      block_all_signals();
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      mine.close();
      to_parent.close();
      live_as_parent(from_parent, theirs, life);
    }
    to_parent_ = std::move(to_parent);
    from_parent.close();
    theirs.close();
    auto message = to_parent_.receive(kPatienceSeconds);
    for (; message.kind == kNoteMessage; message = to_parent_.receive(kPatienceSeconds)) notes.push_back(message.text);
    if (message.kind == kTakenMessage) throw IdTaken(number_in(message.text));
    program_ = number_in(message.text);
    return std::move(mine);
  }

  pid_t program() const override { return program_; }
  bool is_parent() const override { return false; }
  void release() override { end_parent(); }

 private:
  static pid_t number_in(const std::string& text) {
    pid_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
  }

  [[noreturn]] void live_as_parent(Channel& to_command, Channel& newborn_channel, const Life& life) const {
    try {
      const pid_t program = with_clocks(
          clocks_, [&](const std::string& note) { to_command.send(kNoteMessage, note); },
          [&](const ClocksOfChildren*) { return clone_process(0, wanted_, SIGCHLD); });
      if (program == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        to_command.close();
        life(std::move(newborn_channel));
        ::_exit(1);  // it does not return
      }
      newborn_channel.close();
      to_command.send(kReadyMessage, fmt::format("{}", program));
      while (true) ::pause();  // until it is killed
    } catch (const IdTaken& error) {
      to_command.send(kTakenMessage, fmt::format("{}", error.id()));
    } catch (const std::exception& error) {
      to_command.send_error(error);
    }
    ::_exit(0);
  }

  void end_parent() noexcept {
    if (parent_ <= 0) return;
    ::kill(parent_, SIGKILL);
    while (::waitpid(parent_, nullptr, 0) < 0 && errno == EINTR) {
    }
    parent_ = 0;
  }

  std::optional<ClockStart> clocks_;
  pid_t wanted_;
  pid_t parent_ = 0;
  pid_t program_ = 0;
  Channel to_parent_;
};

}  // namespace

std::unique_ptr<Maker> make_maker_of_orphan(const IdPlan& plan, pid_t wanted) {
  return std::make_unique<MakerOfOrphan>(plan, wanted);
}

}  // namespace crs::engine
