#include "engine/newborn/newborn_tree.h"

#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "engine/tracee/id_taken.h"

namespace crs::engine {

NewbornTree::NewbornTree(const IdPlan& plan, const FamilyWork& work, Steps& steps)
    : work_(work),
      steps_(steps),
      maker_(make_maker(plan, work.kinship.members().front().pid)),
      channel_(FileDescriptor()) {}

void NewbornTree::start() {
  channel_ = maker_->make([this](Channel channel) { live_as_root(std::move(channel), work_); }, notes_);
  const std::vector<KinshipMember>& members = work_.kinship.members();
  if (members.size() > 1) {
    keep_step(kBornMessage, members.size(), kJoinStep);
    keep_step(kPlacedMessage, members.size(), kPrepareStep);
  }
  std::size_t awaited = 0;
  for (const KinshipMember& member : members) {
    if (!member.helper) processes_.emplace_back();
    if (!member.helper && !member.zombie) ++awaited;
  }
  if (work_.kinship.shares_tables()) {
    keep_step(kPreparedMessage, awaited, kPlaceStep);
    keep_step(kTablePlacedMessage, awaited, kEnterStep);
  }
  while (awaited > 0) {
    const Channel::Message message = receive();
    if (message.kind != kReadyMessage) continue;
    std::unique_ptr<Newborn>& process = processes_.at(member_of(message));
    if (process) fail(ErrorKind::Failed, "a new process has reported twice");
    process = std::make_unique<Newborn>(message.sender, maker_->traces());
    if (known_.empty() || members.size() == 1) known_.push_back(message.sender);
    --awaited;
  }
}

// Waits until `count` members have come as far as `message` says, and lets all go on.
void NewbornTree::keep_step(char message, std::size_t count, std::uint32_t next) {
  for (std::size_t come = 0; come < count;) {
    const Channel::Message received = receive();
    if (received.kind != message) continue;
    if (message == kBornMessage) known_.push_back(received.sender);
    ++come;
  }
  steps_.allow(next);
}

Channel::Message NewbornTree::receive() {
  Channel::Message message = channel_.receive(kPatienceSeconds);
  if (message.kind == kNoteMessage) notes_.push_back(message.text);
  if (message.kind == kTakenMessage) throw IdTaken(std::atoi(message.text.c_str()));
  return message;
}

std::size_t NewbornTree::member_of(const Channel::Message& message) const {
  std::size_t index = processes_.size();
  std::from_chars(message.text.data(), message.text.data() + message.text.size(), index);
  if (index >= processes_.size()) fail(ErrorKind::Failed, "a new process has reported under a number that is none");
  return index;
}

namespace {

void reap(pid_t id) noexcept {
  int status = 0;
  pid_t got = 0;
  do {
    got = ::waitpid(id, &status, __WALL);
  } while ((got < 0 && errno == EINTR) || (got == id && !WIFEXITED(status) && !WIFSIGNALED(status)));
}

// Every thread of a killed process but its main one, whose end is reported only after that of all others (ptrace(2),
// "Death under ptrace"): waiting for it alone would never end.
void reap_threads(pid_t pid) noexcept {
  std::error_code failed;
  std::filesystem::directory_iterator tasks(fmt::format("/proc/{}/task", pid), failed);
  for (; !failed && tasks != std::filesystem::directory_iterator(); tasks.increment(failed)) {
    const pid_t tid = std::atoi(tasks->path().filename().c_str());
    if (tid > 0 && tid != pid) reap(tid);
  }
}

}  // namespace

NewbornTree::~NewbornTree() { end(); }

// Those that have not reported yet die with their parents (PR_SET_PDEATHSIG of prctl(2)).
void NewbornTree::end() noexcept {
  if (released_) return;
  released_ = true;
  if (known_.empty() && maker_->program() > 0) known_.push_back(maker_->program());
  const pid_t init = maker_->init();
  for (const pid_t pid : known_) ::kill(pid, SIGKILL);
  if (init > 0) ::kill(init, SIGKILL);
  for (const pid_t pid : known_) {
    reap_threads(pid);
    reap(pid);
  }
  if (init > 0) reap(init);
}

void NewbornTree::release() {
  maker_->release();
  released_ = true;
}

}  // namespace crs::engine
