#include "engine/checkpoint.h"

#include <fcntl.h>
#include <linux/kcmp.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "base/io.h"
#include "engine/image/process.pb.h"
#include "engine/newborn/shared_births.h"
#include "engine/pages/process_pages.h"
#include "engine/passes.h"
#include "engine/procfs/shared_tables.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"
#include "engine/resources/attributes/attributes.h"
#include "engine/resources/attributes/namespaces.h"
#include "engine/resources/context.h"
#include "engine/resources/credentials/credentials.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/descriptors/files/kept_files.h"
#include "engine/resources/descriptors/inet_sockets/held_connections.h"
#include "engine/resources/memory/exclusion.h"
#include "engine/resources/memory/layout.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/memory/shared_objects.h"
#include "engine/resources/memory/unmapped_memory.h"
#include "engine/resources/processor/processor.h"
#include "engine/resources/sessions/sessions.h"
#include "engine/resources/signals/signals.h"
#include "engine/resources/system_v/system_v.h"
#include "engine/resources/threads/clock_waits.h"
#include "engine/resources/threads/threads.h"
#include "engine/resources/timers/timers.h"
#include "engine/suitability/one_at_a_time.h"
#include "engine/suitability/suitability.h"
#include "engine/survey.h"
#include "engine/tracee/borrowed_process.h"
#include "engine/tracee/child_signal.h"
#include "engine/tracee/stop_signals.h"
#include "engine/tracee/stopped_tree.h"
#include "engine/tracking/incremental.h"

namespace crs::engine {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<pid_t> ids_of(const StoppedProcess& process) {
  std::vector<pid_t> ids;
  for (const StoppedThread& thread : process.threads()) ids.push_back(thread.tid);
  return ids;
}

std::vector<pid_t> running_of(const StoppedTree& tree) {
  std::vector<pid_t> pids;
  for (const StoppedTree::Member& member : tree.members()) {
    if (member.process) pids.push_back(member.pid);
  }
  return pids;
}

bool is_in_namespace_of(pid_t pid, pid_t root, std::string_view kind) {
  return read_link(fmt::format("/proc/{}/ns/{}", pid, kind)) == read_link(fmt::format("/proc/{}/ns/{}", root, kind));
}

Questions questions_for_thread() {
  Questions questions;
  foresee_thread(questions);
  foresee_securebits(questions);
  return questions;
}

Questions questions_for_process() {
  Questions questions = questions_for_thread();
  foresee_timers(questions);
  foresee_layout(questions);
  foresee_signals(questions);
  foresee_attributes(questions);
  return questions;
}

// Of one that is only looked at, a thread like its main thread need not be asked.
Securebits capture_threads(CaptureContext& context, BorrowedProcess& borrowed, image::Process& image) {
  Securebits securebits;
  const Questions of_other_thread = questions_for_thread();
  for (const StoppedThread& thread : borrowed.threads()) {
    image::Thread& kept = *image.mutable_threads()->add_threads();
    const bool is_main = thread.tid == context.pid;
    if (is_main) image.set_stopped(thread.group_stopped);
    if (context.only_looks || (!is_main && !context.content.keeps())) {
      look_at_thread_attributes(context, thread.tid);
      continue;
    }
    if (is_main) {  // it has been asked
      capture_thread(context, thread, context.remote, kept);
      securebits[thread.tid] = securebits_of(context.remote);
      continue;
    }
    borrowed.with_thread(thread, [&](RemoteCaller& other) {
      AskedAhead remote(other);
      remote.ask(of_other_thread);
      capture_thread(context, thread, remote, kept);
      securebits[thread.tid] = securebits_of(remote);
    });
  }
  return securebits;
}

// Every room's part of one process: timers before the signals that they may send meanwhile, then in the order of the
// image. Returns which pages are to be saved.
// NOLINTNEXTLINE(readability-function-size): a story is a list of steps
std::vector<PageArea> capture_process(CaptureContext& context, pid_t root, const MemorySurvey& survey,
                                      BorrowedProcess& borrowed, AskedAhead& main, image::Process& image) {
  const auto before_timers = Clock::now();
  if (!context.only_looks) main.ask(questions_for_process());
  capture_timers(context, *image.mutable_timers());
  capture_boot(*image.mutable_threads());
  const Securebits securebits = capture_threads(context, borrowed, image);
  std::vector<PageArea> pages = capture_memory(context, survey, *image.mutable_memory());
  capture_signals(context, *image.mutable_signals());
  std::vector<const image::ThreadSignals*> of_threads;
  for (const image::Thread& thread : image.threads().threads()) of_threads.push_back(&thread.signals());
  account_for_expirations(*image.mutable_timers(), image.signals(), of_threads, before_timers);
  capture_credentials(context, securebits, *image.mutable_credentials());
  capture_attributes(context, *image.mutable_attributes());
  refuse_foreign_code(context);
  check_namespaces(context, [&](std::string_view kind) {
    return is_made_by_restart(root, kind) && is_in_namespace_of(context.pid, root, kind);
  });
  return pages;
}

// What is known of a process by its parent.
void capture_kinship(const StoppedTree::Member& member, image::Process& image) {
  constexpr int kExitSignal = 38;  // fields of /proc/PID/stat
  constexpr int kExitStatus = 52;
  const ProcessStatus status = ProcessStatus::of(member.pid);
  const auto pid = static_cast<pid_t>(status.number("Tgid"));
  image.set_pid(pid == member.pid ? innermost_id(status) : innermost_id(pid));
  if (pid != member.pid) capture_ended_thread(pid, *image.mutable_threads()->add_threads());
  image.set_parent(static_cast<std::uint32_t>(member.parent));
  image.set_adopted(member.adopted);
  image.set_exit_signal(static_cast<std::uint32_t>(std::max(0L, stat_number(pid, kExitSignal))));
  image.set_zombie(!member.process);
  if (!member.process) {
    image.set_exit_status(static_cast<std::uint32_t>(stat_number(member.pid, kExitStatus)));
    image.set_name(name_of_process(member.pid));
  }
  capture_session(member.pid, status, image.pid(), *image.mutable_session());
}

// Asks every room for its part of every process.
class TreeCapture {
 public:
  TreeCapture(const StoppedTree& tree, Surveys& surveys, const CheckpointOptions& options, Refusals& refusals,
              std::vector<std::string>& warnings, ContentStore& content, image::Tree& image)
      : tree_(tree),
        surveys_(surveys),
        options_(options),
        options_of_descendants_(without_places(options)),
        leave_out_(options.leave_out),
        refusals_(refusals),
        warnings_(warnings),
        content_(content),
        connections_(options.after == AfterCheckpoint::Kill),
        objects_(content, *image.mutable_descriptors()),
        image_(image) {
    for (const StoppedTree::Member& member : tree.members()) {
      image::Process& process = *image_.add_processes();
      capture_kinship(member, process);
      processes_.push_back({.pid = member.pid, .own_pid = process.pid(), .pidfd = -1, .threads = {}});
      if (!member.process) continue;
      processes_.back().pidfd = surveys.of(member.pid).process.get();
      processes_.back().threads = ids_of(*member.process);
    }
    pages_.resize(tree.members().size());
    find_shared_tables();
    warn_of_tables_shared_outside(processes_.front().pid, processes_.front().own_pid, warnings_);
  }

  void run(Passes& passes) {
    // The root stays borrowed: it stands for the tree where one process must be asked.
    with_process(0, [&](CaptureContext& root, BorrowedProcess& borrowed, AskedAhead& main) {
      passes.run("processes", [&] {
        capture(0, root, borrowed, main);
        for (std::size_t i = 1; i < processes_.size(); ++i) {
          if (tree_.members()[i].process) capture_descendant(i);
        }
        capture_unmapped_parts(root);
      });
      passes.run("System V objects", [&] {
        capture_system_v(root, processes_, image_);
        capture_adjustments(root, image_.system_v(), *image_.mutable_processes(0));
        for (std::size_t i = 1; i < processes_.size() && !image_.system_v().semaphores().empty(); ++i) {
          if (tree_.members()[i].process) capture_adjustments_of_descendant(i);
        }
      });
      passes.run("descriptors", [&] { capture_descriptors(root, processes_, *image_.mutable_descriptors()); });
      refuse_impossible_births(image_, refusals_);
      passes.run("files", [&] { keep_files(root, memories(), *image_.mutable_descriptors()); });
    });
  }

  // The program is about to be ended. Otherwise what is held is given back before the tree is let go: this goes first.
  void keep_connections() { connections_.keep(); }

  // Of each process, which pages are to be saved.
  const std::vector<std::vector<PageArea>>& pages() const noexcept { return pages_; }

 private:
  // Addresses and descriptors that the options name are the root's.
  static CheckpointOptions without_places(CheckpointOptions options) {
    options.exclude.clear();
    options.expendable.clear();
    options.channel = -1;
    return options;
  }

  std::vector<const image::Memory*> memories() const {
    std::vector<const image::Memory*> memories;
    for (const image::Process& process : image_.processes()) memories.push_back(&process.memory());
    return memories;
  }

  template <typename Action>
  void with_process(std::size_t index, Action&& action) {
    const StoppedTree::Member& member = tree_.members()[index];
    BorrowedProcess borrowed(*member.process, surveys_.of(member.pid).gadgets);
    AskedAhead main(borrowed.main());
    CaptureContext context{.pid = member.pid,
                           .own_pid = processes_[index].own_pid,
                           .pidfd = processes_[index].pidfd,
                           .remote = main,
                           .memory = member.process->memory(),
                           .threads = processes_[index].threads,
                           .refusals = refusals_,
                           .warnings = warnings_,
                           .content = content_,
                           .leave_out = leave_out_,
                           .objects = objects_,
                           .options = index == 0 ? options_ : options_of_descendants_,
                           .shared = &shared_,
                           .connections = &connections_,
                           .directories_of = directories_of_[index],
                           .only_looks = index != 0 && !content_.keeps(),
                           .surroundings = surroundings_};
    action(context, borrowed, main);
  }

  void find_shared_tables() {
    std::vector<pid_t> pids;
    for (const StoppedTree::Member& member : tree_.members()) pids.push_back(member.process ? member.pid : 0);
    const std::vector<std::size_t> descriptors = first_with_same_table(pids, KCMP_FILES);
    const std::vector<std::size_t> directories = first_with_same_table(pids, KCMP_FS);
    directories_of_.resize(pids.size());
    for (std::size_t i = 0; i < pids.size(); ++i) {
      if (descriptors[i] != i) processes_[i].descriptors_of = static_cast<std::uint32_t>(descriptors[i]);
      if (directories[i] != i) directories_of_[i] = static_cast<std::uint32_t>(directories[i]);
    }
  }

  void capture(std::size_t index, CaptureContext& context, BorrowedProcess& borrowed, AskedAhead& main) {
    pages_[index] = capture_process(context, processes_.front().pid, surveys_.of(context.pid).memory, borrowed, main,
                                    *image_.mutable_processes(static_cast<int>(index)));
  }

  void capture_descendant(std::size_t index) {
    const StoppedTree::Member& member = tree_.members()[index];
    in_context(fmt::format("process {} ({})", processes_[index].own_pid, name_of_process(member.pid)), [&] {
      with_process(index, [&](CaptureContext& context, BorrowedProcess& borrowed, AskedAhead& main) {
        capture(index, context, borrowed, main);
      });
    });
  }

  // What no process maps any more of memory that they share.
  void capture_unmapped_parts(CaptureContext& root) {
    for (const auto& [pid, objects] : shared_.partly_unmapped()) {
      const auto holder = std::ranges::find(processes_, pid, &CapturedProcess::pid);
      const auto index = static_cast<std::size_t>(holder - processes_.begin());
      const auto capture = [&](CaptureContext& context) {
        image::Process& process = *image_.mutable_processes(static_cast<int>(index));
        std::ranges::move(capture_unmapped(context, objects, *process.mutable_memory()),
                          std::back_inserter(pages_[index]));
        std::ranges::sort(pages_[index], {}, [](const PageArea& pages) { return pages.range.start; });
      };
      if (index == 0) {
        capture(root);
      } else {
        with_process(index, [&](CaptureContext& context, BorrowedProcess&, AskedAhead&) { capture(context); });
      }
    }
  }

  void capture_adjustments_of_descendant(std::size_t index) {
    with_process(index, [&](CaptureContext& context, BorrowedProcess&, AskedAhead&) {
      capture_adjustments(context, image_.system_v(), *image_.mutable_processes(static_cast<int>(index)));
    });
  }

  const StoppedTree& tree_;
  Surveys& surveys_;
  const CheckpointOptions& options_;
  const CheckpointOptions options_of_descendants_;
  const LeaveOut leave_out_;
  Refusals& refusals_;
  std::vector<std::string>& warnings_;
  ContentStore& content_;
  HeldConnections connections_;
  ContentObjects objects_;
  SharedObjects shared_;
  const std::shared_ptr<Surroundings> surroundings_ = std::make_shared<Surroundings>();
  image::Tree& image_;
  std::vector<CapturedProcess> processes_;
  std::vector<std::optional<std::uint32_t>> directories_of_;
  std::vector<std::vector<PageArea>> pages_;
};

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
    const bool complete = surveys.look_at_stopped(*tree);
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
  void refuse(pid_t pid, const CheckpointOptions& options, Refusals& refusals) const {
    const std::vector<pid_t> running = running_of(*tree_);
    if (options.single) refuse_children(pid, refusals);
    Surroundings surroundings;
    for (const pid_t process : running) refuse_unsuitable(process, surroundings, refusals);
    refuse_own_ancestors(running, refusals);
    refuse_shared_tables(running, refusals);
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

// OneAtATime is the caller's.
Examination examine_alone(pid_t root, const CheckpointOptions& options) {
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
  surveys.copy_ahead(Surveys::CopyAhead::OnlyContinued);  // of nothing, since no tracking is taken over: it looks once
                                                          // more, as late as possible

  Frozen frozen(pid, options, surveys);
  frozen.refuse(pid, options, refusals);
  TreeCapture(frozen.tree(), surveys, options, refusals, found.warnings, nowhere, image).run(passes);
  refusals.throw_if_any();
  frozen.let_go_on();
  found.pause_nanoseconds = nanoseconds_since(frozen.tree().since());
  found.processes = static_cast<std::uint32_t>(image.processes_size());
  for (const image::Process& process : image.processes())
    found.threads += static_cast<std::uint32_t>(process.threads().threads_size());
  return found;
}

}  // namespace

// NOLINTNEXTLINE(readability-function-size): a story is a list of steps
CheckpointOutcome checkpoint(pid_t root, SnapshotSink& sink, const CheckpointOptions& options) {
  const ChildSignalBlocked child_signal;
  raise_descriptor_limit();  // each process of a tree takes several
  Passes passes;
  Refusals refusals;
  SnapshotContents contents;
  image::Tree image;
  ContentStore content(sink.location());

  // Look at everything that can be looked at while the program still runs. Memory is copied before it is captured, and
  // content of files meanwhile: what would be refused then is refused before anything is written.
  check_is_program(root);
  const OneAtATime alone(root);
  const pid_t pid = living_thread_of(root);
  if (options.single) refuse_children(pid, refusals);
  refusals.throw_if_any();
  const bool goes_on = options.after == AfterCheckpoint::Continue;
  const bool is_much = goes_on && (options.incremental || has_much_memory(pid));
  std::uint64_t paused_before = 0;
  if (is_much || is_worth_examining(pid)) paused_before = examine_alone(root, options).pause_nanoseconds;
  const auto ahead = !goes_on  ? Surveys::CopyAhead::OnlyContinued
                     : is_much ? Surveys::CopyAhead::Everything
                               : Surveys::CopyAhead::ReadAtOnce;
  RememberedWaits remembered(options.remembered_path, pid);
  Incremental incremental(pid, options);
  ExtentWriter writer(sink.location(), kPagesName, writer_options(options, sink));
  Surveys surveys(pid, options, incremental, remembered, writer, contents.warnings);
  passes.run("look", [&] {
    surveys.look();
    describe(pid, contents);
  });

  // Copy what can be copied while it goes on.
  passes.run("copy ahead", [&] { surveys.copy_ahead(ahead); });
  sink.check_wanted();

  // Stop all threads of all processes.
  auto frozen = passes.run("freeze", [&] { return std::make_unique<Frozen>(pid, options, surveys); });
  StoppedTree& tree = frozen->tree();
  frozen->refuse(pid, options, refusals);

  // Ask every room for its part; what cannot be kept stops the checkpoint here, before the pages are written.
  TreeCapture capture(tree, surveys, options, refusals, contents.warnings, content, image);
  passes.run("capture", [&] { capture.run(passes); });
  refusals.throw_if_any();

  // What is left of the pages, while the program stands still with nothing borrowed.
  passes.run("pages", [&] { take_pages(tree, capture.pages(), image, surveys); });

  // The program goes on; what follows is not part of its pause.
  if (goes_on) frozen->let_go_on();
  contents.pause_nanoseconds =
      paused_before + nanoseconds_since(tree.since()) + static_cast<std::uint64_t>(surveys.stopped().count());
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

Examination examine(pid_t root, const CheckpointOptions& options) {
  check_is_program(root);
  const OneAtATime alone(root);
  return examine_alone(root, options);
}

}  // namespace crs::engine
