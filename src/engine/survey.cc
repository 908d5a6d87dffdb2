#include "engine/survey.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "engine/procfs/tree.h"
#include "engine/suitability/suitability.h"

namespace crs::engine {
namespace {

FileDescriptor open_process(pid_t pid) {
  const long number = ::syscall(SYS_pidfd_open, pid, 0);
  if (number < 0) fail_errno(errno, "pidfd_open of process {}", pid);
  return FileDescriptor(static_cast<int>(number));
}

Gadgets gadgets_of(pid_t pid, bool is_stopped) {
  const RemoteMemory memory(pid);
  return is_stopped ? find_gadgets(pid, memory) : find_gadgets_of_running(pid, memory);
}

// Whether it is still the process that it was.
bool has_ended(const Survey& survey) {
  return ::syscall(SYS_pidfd_send_signal, survey.process.get(), 0, nullptr, 0) != 0 && errno == ESRCH;
}

}  // namespace

Survey::Survey(pid_t pid, bool is_stopped)
    : process(open_process(pid)), gadgets(gadgets_of(pid, is_stopped)), memory(look_at_memory(pid)), waits(pid) {}

Surveys::Surveys(pid_t root, const CheckpointOptions& options, Incremental& incremental, RememberedWaits& remembered,
                 ExtentWriter& writer, std::vector<std::string>& warnings)
    : root_(root),
      options_(options),
      incremental_(incremental),
      remembered_(remembered),
      writer_(writer),
      warnings_(warnings),
      held_memory_(PauseBudget{}.most_held) {}

void Surveys::add(pid_t pid, bool is_stopped) {
  Refusals refusals;
  refuse_unsuitable(pid, refusals);
  refusals.throw_if_any();
  if (!is_stopped) wait_for_memory(pid, options_.remembered_path);
  Survey& survey = surveys_.try_emplace(pid, pid, is_stopped).first->second;
  incremental_.hide_tracking(pid, survey.memory.areas);
  survey.pages = std::make_unique<ProcessPages>(writer_, PauseBudget{}, &held_memory_);
  survey.stops = std::make_unique<ShortStops>(pid, root_, options_.remembered_path, remembered_, survey.gadgets);
}

// Whoever of the root's descendants ends meanwhile is no longer of the tree.
template <typename Action>
void Surveys::unless_ended(pid_t pid, Action&& action) {
  try {
    action();
  } catch (const Error&) {
    if (pid == root_ || is_running(pid)) throw;
  }
}

void Surveys::try_add(pid_t pid) {
  if (!surveys_.contains(pid)) unless_ended(pid, [&] { add(pid, false); });
}

void Surveys::look() {
  try_add(root_);
  for (const TreeProcess& process : tree_of(root_)) {
    if (is_running(process.pid)) try_add(process.pid);
  }
}

void Surveys::copy_ahead(pid_t pid, Survey& survey) {
  survey.pages->copy_ahead(
      pid, areas_to_copy_ahead(survey.memory, pid == root_ ? options_.exclude : std::vector<MemoryRange>{}),
      [&](const auto& action) { survey.stops->stop(action); });
  survey.memory.writes_tracked = survey.pages->tracks();
}

void Surveys::copy_ahead(bool only_continued) {
  constexpr int kMostLooks = 3;
  std::set<pid_t> seen;
  for (int looks = 0; looks < kMostLooks; ++looks) {
    const std::size_t seen_before = seen.size();
    for (auto& [pid, survey] : surveys_) {
      if (!seen.insert(pid).second) continue;
      unless_ended(pid, [&, pid = pid, survey = &survey] {
        const bool continues = incremental_.continue_from_earlier(pid, *survey->pages, warnings_);
        if (continues || !only_continued) copy_ahead(pid, *survey);
      });
    }
    if (seen.size() == seen_before) break;
    look();
  }
  for (auto& [pid, survey] : surveys_) {
    unless_ended(pid, [&, pid = pid, survey = &survey] {
      // While the others were copied this one went on.
      if (surveys_.size() > 1) survey->pages->catch_up([&](const auto& action) { survey->stops->stop(action); });
      look_again(pid, survey->memory);
      survey->waits = WaitsBefore(pid);
    });
  }
}

bool Surveys::look_at_stopped(const StoppedTree& tree) {
  // Another process may have the id of one that has ended.
  for (auto& [pid, survey] : surveys_) {
    if (has_ended(survey)) survey.pages->finish();
  }
  std::erase_if(surveys_, [](const auto& entry) { return has_ended(entry.second); });
  for (const StoppedTree::Member& member : tree.members()) {
    if (!member.process || surveys_.contains(member.pid)) continue;
    try {
      add(member.pid, true);
    } catch (const Error& error) {
      surveys_.erase(member.pid);
      // In the middle of execve(2), or its C library is not there yet.
      if (error.kind() != ErrorKind::Refused || std::ranges::count(just_begun_, member.pid) > 0) throw;
      just_begun_.push_back(member.pid);
      return false;
    }
  }
  return true;
}

void Surveys::note_waits(StoppedTree& tree) {
  for (StoppedTree::Member& member : tree.members()) {
    if (!member.process) continue;
    const auto known = surveys_.find(member.pid);
    note_limited_waits(*member.process, known == surveys_.end() ? WaitsBefore() : known->second.waits, remembered_);
  }
}

void Surveys::let_go_on(StoppedTree& tree) {
  WaitsKeeper keeper(options_.remembered_path, tree);
  keeper.look();
  tree.release();
  stopped_ += std::chrono::steady_clock::now() - tree.since();
  keeper.keep();
  remembered_.replace(keeper.waits());
  look();
  for (auto& [pid, survey] : surveys_) survey.waits = WaitsBefore(pid);
}

void Surveys::forget_ended(const StoppedTree& tree) {
  std::set<pid_t> members;
  for (const StoppedTree::Member& member : tree.members()) {
    if (member.process) members.insert(member.pid);
  }
  for (auto& [pid, survey] : surveys_) {
    if (!members.contains(pid)) survey.pages->finish();
  }
  std::erase_if(surveys_, [&](const auto& entry) { return !members.contains(entry.first); });
}

std::optional<std::uint64_t> Surveys::elapsed_in_call(pid_t pid, pid_t tid) const {
  const auto known = surveys_.find(pid);
  return known == surveys_.end() ? std::nullopt : known->second.waits.elapsed(tid);
}

std::chrono::nanoseconds Surveys::stopped() const {
  std::chrono::nanoseconds total = stopped_;
  for (const auto& [pid, survey] : surveys_) total += survey.stops->total();
  return total;
}

}  // namespace crs::engine
