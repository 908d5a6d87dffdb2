#include "engine/survey.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/shared_tables.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"
#include "engine/resources/attributes/scheduling.h"
#include "engine/resources/memory/asynchronous_io/asynchronous_io.h"
#include "engine/suitability/suitability.h"

namespace crs::engine {
namespace {

// Of a program that executes others all the time.
constexpr int kMostStops = 50;

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
    : process(open_process(pid)), gadgets(gadgets_of(pid, is_stopped)), waits(pid) {}

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
  refuse_unsuitable(pid, *surroundings_, refusals);
  refusals.throw_if_any();
  if (!is_stopped) wait_for_memory(pid, options_.remembered_path);
  Survey& survey = surveys_.try_emplace(pid, pid, is_stopped).first->second;
  survey.memory_of = owner_of_memory(pid);
  if (survey.memory_of == 0) survey.memory = look_at_memory_of(pid);
  survey.pages = std::make_unique<ProcessPages>(writer_, PauseBudget{}, &held_memory_);
  survey.stops = std::make_unique<ShortStops>(pid, root_, options_.remembered_path, remembered_, survey.gadgets);
}

// Only a parent's can be had (shared_births.h).
pid_t Surveys::owner_of_memory(pid_t pid) const {
  const pid_t parent = living_thread_of(static_cast<pid_t>(ProcessStatus::of(pid).number("PPid")));
  return surveys_.contains(parent) && have_one_memory(pid, parent) ? parent : 0;
}

namespace {

// Whether it stands in vfork(2), or in a clone(2) that may be the same, until its child has left its memory: the first
// number of /proc/PID/task/TID/syscall.
bool waits_for_child(pid_t pid) {
  std::error_code gone;
  std::filesystem::directory_iterator tasks(fmt::format("/proc/{}/task", pid), gone);
  for (; !gone && tasks != std::filesystem::directory_iterator(); tasks.increment(gone)) {
    try {
      const std::string call = read_file(tasks->path() / "syscall");
      const int number = std::atoi(call.c_str());
      if (call.front() != 'r' && (number == SYS_vfork || number == SYS_clone || number == SYS_clone3)) return true;
    } catch (const Error&) {  // it ended just now
    }
  }
  return false;
}

// The children of `pid` that have its memory, and theirs.
std::vector<pid_t> sharers_of(pid_t pid) {
  std::vector<pid_t> sharers{pid};
  for (std::size_t at = 0; at < sharers.size(); ++at) {
    for (const pid_t one : children_of(sharers[at])) {
      const pid_t child = living_thread_of(one);
      if (have_one_memory(child, pid) && is_running(child)) sharers.push_back(child);
    }
  }
  sharers.erase(sharers.begin());
  return sharers;
}

}  // namespace

// Such memory is not copied ahead: a stop of one process does not stop what the others do. A child of vfork(2) has left
// it in a moment.
bool Surveys::is_shared(pid_t pid) {
  constexpr int kMoments = 20;
  constexpr timespec kMoment{0, 1'000'000};
  for (int moment = 0; moment < kMoments; ++moment) {
    const std::vector<pid_t> sharers = sharers_of(pid);
    if (sharers.empty()) return false;
    if (sharers.size() > 1 || !waits_for_child(pid)) return true;
    ::nanosleep(&kMoment, nullptr);
  }
  return true;
}

namespace {

// A stop does not stop what devices write for requests that are under way, and no tracking of writes shows it.
bool has_asynchronous_io(const MemorySurvey& survey) { return std::ranges::any_of(survey.areas, is_asynchronous_io); }

}  // namespace

MemorySurvey Surveys::look_at_memory_of(pid_t pid) {
  MemorySurvey survey;
  const auto known = known_memory_.extract(pid);
  if (known) {
    survey = std::move(known.mapped());
    survey.writes_tracked = incremental_.hide_tracking(pid, survey.areas);
  }
  const bool is_of_use = known && has_same_areas(pid, survey);
  // That tracking may have ended meanwhile.
  const bool is_marked = std::ranges::any_of(survey.areas, [](const MappedArea& area) { return area.has("uw"); });
  if (!is_of_use || is_marked) {
    survey = look_at_memory(pid);
    survey.writes_tracked = incremental_.hide_tracking(pid, survey.areas);
    if (incremental_.end_tracking_elsewhere(pid, survey.areas)) {
      survey = look_at_memory(pid);
      survey.writes_tracked = incremental_.hide_tracking(pid, survey.areas);
    }
  }
  survey.ask_stopped = ask_stopped_;
  return survey;
}

KnownMemory Surveys::take_known_memory() {
  KnownMemory known;
  for (auto& [pid, survey] : surveys_) {
    std::ranges::for_each(survey.memory.areas, &MappedArea::show_tracking);
    known.emplace(pid, std::move(survey.memory));
  }
  return known;
}

// Who ends meanwhile is no longer of the tree, and who executes another program has none of the memory any more that
// was looked at (ESRCH): both are forgotten, and looked at again later if they are still there.
template <typename Action>
void Surveys::try_with(pid_t pid, Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    if (is_running(pid) && error.error_number() != ESRCH && error.kind() != ErrorKind::ProgramGone) throw;
    forget(pid);
  }
}

void Surveys::forget(pid_t pid) {
  const auto known = surveys_.find(pid);
  if (known == surveys_.end()) return;
  if (known->second.pages) known->second.pages->finish();
  if (known->second.stops) stopped_ += known->second.stops->total();
  surveys_.erase(known);
}

void Surveys::look() {
  for (const TreeProcess& process : tree_of(root_)) {
    if (!surveys_.contains(process.pid) && is_running(process.pid))
      try_with(process.pid, [&] { add(process.pid, false); });
  }
  if (!is_running(root_)) fail(ErrorKind::ProgramGone, "process {} ended meanwhile", root_);
  surroundings_->users_with_keys();
  foresee_scheduling(*surroundings_);
}

void Surveys::copy_ahead(pid_t pid, Survey& survey, std::uint64_t least) {
  survey.pages->copy_ahead(
      pid, areas_to_copy_ahead(survey.memory, pid == root_ ? options_.exclude : std::vector<MemoryRange>{}),
      [&](const auto& action) { survey.stops->stop(action); }, least);
  survey.memory.writes_tracked |= survey.pages->tracks();
}

void Surveys::copy_ahead(CopyAhead what) {
  constexpr int kMostLooks = 3;
  constexpr std::uint64_t kNothing = ~std::uint64_t{0};
  std::set<pid_t> seen;
  for (int looks = 0; looks < kMostLooks; ++looks) {
    const std::size_t seen_before = seen.size();
    for (const pid_t pid : known()) {
      if (!seen.insert(pid).second) continue;
      try_with(pid, [&] {
        const bool shared = !copies_ahead_ || has_asynchronous_io(of(pid).memory) || is_shared(pid);
        if (shared) incremental_.give_up_earlier(pid);
        const bool continues = !shared && incremental_.continue_from_earlier(pid, *of(pid).pages, warnings_);
        const bool at_once = what == CopyAhead::ReadAtOnce || shared;
        if (continues || what != CopyAhead::OnlyContinued)
          copy_ahead(pid, of(pid), at_once && !continues ? kNothing : kWorthCopyingAhead);
      });
    }
    if (seen.size() == seen_before) break;
    look();
  }
  look_again();
  for (const pid_t pid : known()) {
    try_with(pid, [&] {
      Survey& survey = of(pid);
      if (!survey.pages->tracks() || !is_shared(pid))
        survey.pages->catch_up([&](const auto& action) { survey.stops->stop(action); });
      survey.waits = WaitsBefore(pid);
    });
  }
}

// Everything where what is known is old: then another look costs little beside the time since.
void Surveys::look_again() {
  constexpr int kOld = 10;
  const auto now = std::chrono::steady_clock::now();
  auto since = now;
  std::chrono::steady_clock::duration took{};
  for (const auto& [pid, survey] : surveys_) {
    since = std::min(since, survey.memory.since);
    took += survey.memory.took;
  }
  const bool is_old = now - since > kOld * took;
  for (const pid_t pid : known()) {
    try_with(pid, [&] {
      MemorySurvey& memory = of(pid).memory;
      if (memory.areas.empty()) return;  // another's
      if (is_old || !has_same_areas(pid, memory)) engine::look_again(pid, memory);
    });
  }
}

std::vector<pid_t> Surveys::known() const {
  std::vector<pid_t> pids;
  for (const auto& [pid, survey] : surveys_) pids.push_back(pid);
  return pids;
}

bool Surveys::look_at_stopped(const StoppedTree& tree) {
  // Another process may have the id of one that has ended.
  for (const pid_t pid : known()) {
    if (has_ended(of(pid))) forget(pid);
  }
  for (const StoppedTree::Member& member : tree.members()) {
    if (!member.process || surveys_.contains(member.pid)) continue;
    try {
      add(member.pid, true);
    } catch (const Error& error) {
      surveys_.erase(member.pid);
      // In the middle of execve(2), or its C library is not there yet. Whatever else it is will be found while it runs.
      if (error.kind() != ErrorKind::Refused || ++stopped_too_early_ == kMostStops) throw;
      return false;
    }
  }
  return true;
}

bool Surveys::should_read_answers(const StoppedTree& tree) {
  constexpr int kMostWaited = 20;
  const bool some = std::ranges::any_of(tree.members(), [&](const StoppedTree::Member& member) {
    if (!member.process) return false;
    return std::ranges::any_of(surveys_.at(member.pid).memory.areas, [&](const MappedArea& area) {
      return is_asynchronous_io(area) && has_unread_answers(member.process->memory(), area.range);
    });
  });
  return some && ++unread_answers_ < kMostWaited;
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

// One that was copied ahead may have come to be shared since, or to have a context of asynchronous I/O.
bool Surveys::sharing_misjudged(const StoppedTree& tree) const {
  return std::ranges::any_of(tree.members(), [&](const StoppedTree::Member& member) {
    if (!member.process) return false;
    const Survey& survey = surveys_.at(member.pid);
    return survey.written_by_others && survey.pages->tracks();
  });
}

bool Surveys::twins_misjudged() const {
  return std::ranges::any_of(surveys_, [](const auto& entry) {
    const ProcessPages& pages = *entry.second.pages;
    if (pages.twin() == 0) return false;
    PageRuns copied;
    for (const MappedArea& area : read_smaps(pages.twin())) {
      if (!area.has("wf")) append_run(copied, area.range);
    }
    return std::ranges::any_of(pages.left_to_twin(),
                               [&](const PageArea& area) { return !other_parts(area.range, copied).empty(); });
  });
}

bool Surveys::settings_misjudged(const StoppedTree& tree) const {
  for (const StoppedTree::Member& member : tree.members()) {
    if (!member.process || !surveys_.at(member.pid).memory.relied_upon) continue;
    const Survey& survey = surveys_.at(member.pid);
    try {
      if (!has_same_settings(member.pid, survey.memory)) return true;
    } catch (const Error&) {
      if (!has_ended(survey)) return true;  // else it can be asked no more
    }
  }
  return false;
}

void Surveys::forget_ended(const StoppedTree& tree) {
  std::set<pid_t> members;
  for (const StoppedTree::Member& member : tree.members()) {
    if (member.process) members.insert(member.pid);
  }
  for (const pid_t pid : known()) {
    if (!members.contains(pid)) forget(pid);
  }
}

std::uint64_t Surveys::private_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [pid, survey] : surveys_) {
    for (const MappedArea& area : survey.memory.areas) bytes += area.anonymous_bytes;
  }
  return bytes;
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
