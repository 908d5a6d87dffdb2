#include "engine/checkpoint.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>
#include <system_error>

#include "base/error.h"
#include "base/io.h"
#include "base/parallel.h"
#include "engine/image/process.pb.h"
#include "engine/newborn/shared_births.h"
#include "engine/pages/process_pages.h"
#include "engine/passes.h"
#include "engine/procfs/tree.h"
#include "engine/resources/context.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/memory/exclusion.h"
#include "engine/resources/processor/processor.h"
#include "engine/resources/threads/clock_waits.h"
#include "engine/suitability/one_at_a_time.h"
#include "engine/suitability/suitability.h"
#include "engine/survey.h"
#include "engine/tracee/borrowed_process.h"
#include "engine/tracee/child_signal.h"
#include "engine/tracee/stop_signals.h"
#include "engine/tracee/stopped_tree.h"
#include "engine/tracking/incremental.h"
#include "engine/tree_capture.h"

namespace crs::engine {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<pid_t> running_of(const StoppedTree& tree) {
  std::vector<pid_t> pids;
  for (const StoppedTree::Member& member : tree.members()) {
    if (member.process) pids.push_back(member.pid);
  }
  return pids;
}

ExtentWriterOptions writer_options(const CheckpointOptions& options, const SnapshotSink& sink) {
  ExtentWriterOptions result = parse_compression(options.compression);
  result.bytes_per_second = options.write_limit;
  result.check_wanted = [&sink] { sink.check_wanted(); };
  return result;
}

// Whether an orphan among the descendants of member `index` would come to itself or to another member above it.
bool orphans_stay_in_tree(const StoppedTree& tree, const image::Tree& image, std::size_t index) {
  while (true) {
    if (image.processes(static_cast<int>(index)).attributes().child_subreaper()) return true;
    if (index == 0) return false;
    index = tree.members()[index].parent;
  }
}

// Null if there cannot be one: then all is read while the program stands still.
std::unique_ptr<Twin> make_twin(const StoppedProcess& process, const Gadgets& gadgets, RemoteRange& scratch) {
  try {
    BorrowedProcess borrowed(process, gadgets);
    scratch = borrowed.scratch_range();
    return std::make_unique<Twin>(borrowed);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::ProgramGone) throw;
    return nullptr;
  }
}

void take_pages(const StoppedTree& tree, const std::vector<std::vector<PageArea>>& pages, const image::Tree& image,
                Surveys& surveys) {
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const StoppedTree::Member& member = tree.members()[i];
    if (!member.process) continue;
    Survey& survey = surveys.of(member.pid);
    ProcessPages::MakeTwin twin;
    if (!orphans_stay_in_tree(tree, image, i))
      twin = [&](RemoteRange& scratch) { return make_twin(*member.process, survey.gadgets, scratch); };
    survey.pages->set_process(static_cast<std::uint32_t>(i));
    survey.pages->take(member.process->memory(), pages[i], twin);
  }
}

void finish_pages(const StoppedTree& tree, Surveys& surveys, Incremental& incremental, image::Tree& image) {
  for (std::size_t i = 0; i < tree.members().size(); ++i) {
    image::Process& process = *image.mutable_processes(static_cast<int>(i));
    if (process.zombie()) continue;
    const pid_t pid = tree.members()[i].pid;
    record_pages(incremental.finish(pid, static_cast<std::uint32_t>(i), *surveys.of(pid).pages),
                 *process.mutable_memory());
  }
}

// Stops all threads of all processes, and knows what they were waiting for.
std::unique_ptr<StoppedTree> freeze(pid_t pid, Surveys& surveys) {
  while (true) {
    auto tree = std::make_unique<StoppedTree>(
        pid, [&](pid_t process, pid_t tid) { return surveys.elapsed_in_call(process, tid); });
    if (!tree->members().front().process) fail(ErrorKind::ProgramGone, "process {} ended meanwhile", pid);
    const bool complete = surveys.look_at_stopped(*tree) && !surveys.should_read_answers(*tree);
    surveys.note_waits(*tree);
    if (complete) return tree;
    surveys.let_go_on(*tree);
  }
}

// What the manifest says of the program: asked for while it still runs ...
void describe(pid_t pid, SnapshotContents& contents) {
  contents.executable = read_link(fmt::format("/proc/{}/exe", pid));
  contents.cpu_features = processor_features();
  std::istringstream arguments(read_file(fmt::format("/proc/{}/cmdline", pid)));
  for (std::string argument; std::getline(arguments, argument, '\0');) contents.command_line.push_back(argument);
}

// ... and taken from its image when it runs again.
void describe(const image::Tree& image, SnapshotContents& contents) {
  const image::Process& root = image.processes(0);
  contents.pid = root.pid();
  contents.working_directory = root.attributes().working_directory();
  for (const image::AddressRange& range : root.memory().excluded())
    contents.excluded.push_back({range.start(), range.end()});
  contents.processes = static_cast<std::uint32_t>(image.processes_size());
  for (const image::Process& process : image.processes()) {
    contents.threads += static_cast<std::uint32_t>(process.threads().threads_size());
    contents.memory_bytes += process.memory().page_bytes();
  }
}

void write_image(const std::string& directory, const image::Tree& image) {
  const std::string path = directory + "/process";
  const FileDescriptor file = open_file(path, O_WRONLY | O_CREAT | O_EXCL);
  std::string bytes;
  if (!image.SerializeToString(&bytes)) fail(ErrorKind::Failed, "the image of the program is too large");
  write_all(file.get(), path, as_byte_span(bytes));
}

// The program while it stands still for a capture: all threads of all processes.
class Frozen {
 public:
  Frozen(pid_t pid, const CheckpointOptions& options, Surveys& surveys)
      : stop_signals_(std::in_place), tree_(freeze(pid, surveys)), keeper_(options.remembered_path, *tree_) {}

  StoppedTree& tree() noexcept { return *tree_; }

  // Throws what no room needs to be asked about.
  void refuse(pid_t pid, const Surveys& surveys, const CheckpointOptions& options, Refusals& refusals) const {
    const std::vector<pid_t> running = running_of(*tree_);
    if (options.single) refuse_children(pid, refusals);
    for (const pid_t process : running) refuse_unsuitable(process, *surveys.surroundings(), refusals);
    refuse_own_ancestors(running, refusals);
    refusals.throw_if_any();
    check_not_in_use(whole_pages_of(options.exclude), tree_->members().front().process->threads());
  }

  void let_go_on() {
    keeper_.look();
    tree_->release();
    stop_signals_.reset();
    keeper_.keep();
  }

 private:
  std::optional<StopSignalsBlocked> stop_signals_;
  std::unique_ptr<StoppedTree> tree_;
  WaitsKeeper keeper_;
};

std::uint64_t nanoseconds_since(Clock::time_point start) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
}

// OneAtATime is the caller's. `known` is filled.
Examination examine_alone(pid_t root, const CheckpointOptions& options, KnownMemory& known) {
  const ChildSignalBlocked child_signal;
  raise_descriptor_limit();
  Passes passes;
  Refusals refusals;
  Examination found;
  image::Tree image;
  ContentStore nowhere;
  check_is_program(root);
  const pid_t pid = living_thread_of(root);
  if (options.single) refuse_children(pid, refusals);
  refusals.throw_if_any();
  RememberedWaits remembered(options.remembered_path, pid);
  Incremental incremental(options, Incremental::OnlyLooks{});
  ExtentWriter nothing({}, kPagesName);
  Surveys surveys(pid, options, incremental, remembered, nothing, found.warnings);
  surveys.look();
  refuse_memory_shared_outside(pid, refusals);
  surveys.copy_ahead(Surveys::CopyAhead::OnlyContinued);  // of nothing, since no tracking is taken over: it looks once
                                                          // more, as late as possible

  Frozen frozen(pid, options, surveys);
  frozen.refuse(pid, surveys, options, refusals);
  TreeCapture(frozen.tree(), surveys, options, refusals, found.warnings, nowhere, image).run(passes);
  refusals.throw_if_any();
  frozen.let_go_on();
  found.pause_nanoseconds = nanoseconds_since(frozen.tree().since());
  known = surveys.take_known_memory();
  found.processes = static_cast<std::uint32_t>(image.processes_size());
  for (const image::Process& process : image.processes())
    found.threads += static_cast<std::uint32_t>(process.threads().threads_size());
  return found;
}

void warn_of(const Misjudged& misjudged, std::vector<std::string>& warnings) {
  constexpr std::string_view kDoneAgain = "it was stopped once more, and all of it written anew";
  if (misjudged.settings) {
    warnings.push_back(
        fmt::format("the program changed how its memory is set (madvise, mlock) in the moment of the "
                    "checkpoint; {}",
                    kDoneAgain));
  }
  if (misjudged.sharing) {
    warnings.push_back(fmt::format(
        "processes of the program came to have one memory (clone) while it was being copied; {}", kDoneAgain));
  }
}

// So much is copied ahead of the stop. Less is read within some milliseconds, fits into the memory that a checkpoint
// has for that (PauseBudget), and is written when nothing was refused.
constexpr std::uint64_t kMuchMemory = std::uint64_t{28} << 20;
// How so much is set takes ten milliseconds to ask for (/proc/PID/smaps): what was known before the stop is relied
// upon, although all is to be done again if that was wrong.
constexpr std::uint64_t kSlowToLookAt = std::uint64_t{1} << 30;

// OneAtATime is the caller's. `misjudged`: by earlier attempts. Nothing if something more was misjudged, which is added
// there; the program runs again, and in `paused` is how long it stood still in vain.
// NOLINTNEXTLINE(readability-function-size): a story is a list of steps
std::optional<CheckpointOutcome> take(pid_t root, SnapshotSink& sink, const CheckpointOptions& options,
                                      Misjudged& misjudged, std::uint64_t& paused) {
  Passes passes;
  Refusals refusals;
  SnapshotContents contents;
  image::Tree image;
  ContentStore content(sink.location());

  // Look at everything that can be looked at while the program still runs. Memory is copied before it is captured, and
  // content of files meanwhile: what would be refused then is refused before anything is written.
  check_is_program(root);
  const pid_t pid = living_thread_of(root);
  if (options.single) refuse_children(pid, refusals);
  refusals.throw_if_any();
  const bool goes_on = options.after == AfterCheckpoint::Continue;
  const std::uint64_t memory = memory_of_program(pid);
  const bool is_copied_ahead = goes_on && (options.incremental || memory >= kMuchMemory);
  KnownMemory known;
  if (is_copied_ahead || is_worth_examining(pid)) paused += examine_alone(root, options, known).pause_nanoseconds;
  const auto ahead = !goes_on          ? Surveys::CopyAhead::OnlyContinued
                     : is_copied_ahead ? Surveys::CopyAhead::Everything
                                       : Surveys::CopyAhead::ReadAtOnce;
  RememberedWaits remembered(options.remembered_path, pid);
  Incremental incremental(pid, options);
  ExtentWriter writer(sink.location(), kPagesName, writer_options(options, sink));
  Surveys surveys(pid, options, incremental, remembered, writer, contents.warnings);
  surveys.use(std::move(known));
  if (misjudged.settings || (!goes_on && memory < kSlowToLookAt)) surveys.ask_stopped();
  if (misjudged.sharing) surveys.copy_nothing_ahead();
  warn_of(misjudged, contents.warnings);
  passes.run("look", [&] {
    surveys.look();
    refuse_memory_shared_outside(pid, refusals);
    describe(pid, contents);
  });
  refusals.throw_if_any();

  // Copy what can be copied while it goes on.
  if (!options.incremental) writer.expect(surveys.private_bytes());
  passes.run("copy ahead", [&] { surveys.copy_ahead(ahead); });
  sink.check_wanted();

  // Stop all threads of all processes.
  auto frozen = passes.run("freeze", [&] { return std::make_unique<Frozen>(pid, options, surveys); });
  StoppedTree& tree = frozen->tree();
  frozen->refuse(pid, surveys, options, refusals);

  // Ask every room for its part; what cannot be kept stops the checkpoint here, before the pages are written.
  TreeCapture capture(tree, surveys, options, refusals, contents.warnings, content, image);
  passes.run("capture", [&] { capture.run(passes); });
  refusals.throw_if_any();

  // What is left of the pages, while the program stands still with nothing borrowed. Beside that it is looked at the
  // settings of memory once more. That takes longer where the pages were copied ahead: then the program need not wait
  // for it, and what it changed and changed back about its stop is not seen.
  Misjudged found{.sharing = surveys.sharing_misjudged(tree)};
  const auto look_at_settings = [&] { found.settings = surveys.settings_misjudged(tree); };
  const auto take_all_pages = [&] { take_pages(tree, capture.pages(), image, surveys); };
  passes.run("pages", [&] { is_copied_ahead ? take_all_pages() : run_beside(look_at_settings, take_all_pages); });

  // The program goes on; what follows is not part of its pause.
  if (goes_on) frozen->let_go_on();
  paused += nanoseconds_since(tree.since()) + static_cast<std::uint64_t>(surveys.stopped().count());
  contents.pause_nanoseconds = paused;
  if (is_copied_ahead) look_at_settings();
  found.settings = found.settings || surveys.twins_misjudged();
  if (found.any()) {
    misjudged = {misjudged.settings || found.settings, misjudged.sharing || found.sharing};
    return std::nullopt;
  }
  passes.run("write pages", [&] {
    surveys.forget_ended(tree);
    finish_pages(tree, surveys, incremental, image);
    writer.finish();
  });
  for (const image::Process& process : image.processes()) passes.add_bytes(process.memory().page_bytes());
  image.set_incremental(options.incremental);
  describe(image, contents);
  passes.run("write image", [&] { write_image(sink.location(), image); });
  contents.passes = passes.list();
  contents.parent_sequence = incremental.parent_sequence();
  sink.commit(contents);
  incremental.keep();

  // Only now that the snapshot is safe may the program be stopped or ended.
  CheckpointOutcome outcome;
  if (options.after == AfterCheckpoint::Stop) tree.release_stopped();
  if (options.after == AfterCheckpoint::Kill) {
    capture.keep_connections();
    tree.kill();
    outcome.state = State::Term;
  }
  outcome.pause_nanoseconds = goes_on ? contents.pause_nanoseconds : nanoseconds_since(tree.since());
  return outcome;
}

// What /proc says of a process that is about to end has many words.
template <typename Action>
auto while_it_runs(pid_t root, Action&& action) {
  try {
    return action();
  } catch (const Error& error) {
    constexpr std::array kSigns{ENOENT, ESRCH, EACCES, EPERM};
    const bool may_be_its_end = std::ranges::find(kSigns, error.error_number()) != kSigns.end();
    if (!may_be_its_end || is_running(living_thread_of(root))) throw;
    throw Error(ErrorKind::ProgramGone, fmt::format("process {} ended meanwhile", root)).add_context(error.what());
  }
}

// A checkpoint begins with an empty directory.
void remove_all_in(const std::string& directory) {
  std::error_code problem;
  std::filesystem::directory_iterator entry(directory, problem);
  for (; !problem && entry != std::filesystem::directory_iterator(); entry.increment(problem)) {
    std::filesystem::remove_all(entry->path(), problem);
    if (problem) break;
  }
  if (problem) fail_errno(problem.value(), "cannot empty {}", directory);
}

}  // namespace

CheckpointOutcome checkpoint(pid_t root, SnapshotSink& sink, const CheckpointOptions& options) {
  const ChildSignalBlocked child_signal;
  raise_descriptor_limit();  // each process of a tree takes several
  check_is_program(root);
  const OneAtATime alone(root);
  std::uint64_t paused = 0;
  return while_it_runs(root, [&] {
    Misjudged misjudged;
    while (true) {
      if (auto outcome = take(root, sink, options, misjudged, paused)) return *std::move(outcome);
      remove_all_in(sink.location());
    }
  });
}

Examination examine(pid_t root, const CheckpointOptions& options) {
  check_is_program(root);
  const OneAtATime alone(root);
  return while_it_runs(root, [&] {
    check_can_be_stopped(root);
    KnownMemory known;
    return examine_alone(root, options, known);
  });
}

}  // namespace crs::engine
