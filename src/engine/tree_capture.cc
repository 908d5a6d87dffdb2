#include "engine/tree_capture.h"

#include <linux/kcmp.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/io.h"
#include "engine/image/process.pb.h"
#include "engine/newborn/shared_births.h"
#include "engine/newborn/sharing.h"
#include "engine/pages/process_pages.h"
#include "engine/passes.h"
#include "engine/private_descriptors.h"
#include "engine/procfs/shared_tables.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"
#include "engine/resources/attributes/attributes.h"
#include "engine/resources/attributes/namespaces.h"
#include "engine/resources/clocks/clocks.h"
#include "engine/resources/context.h"
#include "engine/resources/credentials/credentials.h"
#include "engine/resources/credentials/keyrings.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/descriptors/files/kept_files.h"
#include "engine/resources/descriptors/inet_sockets/held_connections.h"
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
#include "engine/suitability/suitability.h"
#include "engine/survey.h"
#include "engine/tracee/borrowed_process.h"
#include "engine/tracee/stopped_tree.h"

namespace crs::engine {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<pid_t> ids_of(const StoppedProcess& process) {
  std::vector<pid_t> ids;
  for (const StoppedThread& thread : process.threads()) ids.push_back(thread.tid);
  return ids;
}

bool is_in_namespace_of(pid_t pid, pid_t root, std::string_view kind) {
  return read_link(fmt::format("/proc/{}/ns/{}", pid, kind)) == read_link(fmt::format("/proc/{}/ns/{}", root, kind));
}

Questions questions_for_thread(bool about_keys) {
  Questions questions;
  foresee_thread(questions);
  foresee_securebits(questions);
  if (about_keys) foresee_keyring_of_thread(questions);
  return questions;
}

Questions questions_for_process(bool about_keys) {
  Questions questions = questions_for_thread(about_keys);
  if (about_keys) foresee_keyrings_of_process(questions);
  foresee_timers(questions);
  foresee_layout(questions);
  foresee_signals(questions);
  foresee_attributes(questions);
  return questions;
}

// Of one that is only looked at, a thread like its main thread need not be asked.
Securebits capture_threads(CaptureContext& context, BorrowedProcess& borrowed, bool about_keys, image::Process& image) {
  Securebits securebits;
  const Questions of_other_thread = questions_for_thread(about_keys);
  for (const StoppedThread& thread : borrowed.threads()) {
    image::Thread& kept = *image.mutable_threads()->add_threads();
    const bool is_main = thread.tid == context.pid;
    if (is_main) image.set_stopped(thread.group_stopped);
    if (context.only_looks || (!is_main && !context.content.keeps())) {
      look_at_thread_attributes(context, thread.tid);
      continue;
    }
    if (is_main) {  // it has been asked
      if (about_keys) refuse_keys_of_thread(context, context.remote);
      capture_thread(context, thread, context.remote, kept);
      securebits[thread.tid] = securebits_of(context.remote);
      continue;
    }
    borrowed.with_thread(thread, [&](RemoteCaller& other) {
      AskedAhead remote(other);
      remote.ask(of_other_thread);
      if (about_keys) refuse_keys_of_thread(context, remote);
      capture_thread(context, thread, remote, kept);
      securebits[thread.tid] = securebits_of(remote);
    });
  }
  return securebits;
}

// Every room's part of one process: timers before the signals that they may send meanwhile, then in the order of the
// image. Returns which pages are to be saved.
// NOLINTNEXTLINE(readability-function-size): a story is a list of steps
std::vector<PageArea> capture_process(CaptureContext& context, pid_t root, MemorySurvey& survey,
                                      BorrowedProcess& borrowed, AskedAhead& main, image::Process& image) {
  const auto before_timers = Clock::now();
  const bool about_keys = may_hold_keys(*context.surroundings);
  if (!context.only_looks) main.ask(questions_for_process(about_keys));
  if (about_keys) refuse_keys_of_process(context, context.remote);
  capture_timers(context, *image.mutable_timers());
  capture_boot(*image.mutable_threads());
  const Securebits securebits = capture_threads(context, borrowed, about_keys, image);
  std::vector<PageArea> pages = capture_memory(context, survey, *image.mutable_memory());
  capture_signals(context, *image.mutable_signals());
  std::vector<const image::ThreadSignals*> of_threads;
  for (const image::Thread& thread : image.threads().threads()) of_threads.push_back(&thread.signals());
  account_for_expirations(*image.mutable_timers(), image.signals(), of_threads, before_timers);
  count_from_clocks(*image.mutable_timers(), before_timers - context.clocks_read);
  capture_credentials(context, securebits, *image.mutable_credentials());
  capture_attributes(context, *image.mutable_attributes());
  refuse_foreign_code(context);
  check_namespaces(context, [&](std::string_view kind) {
    return is_made_by_restart(root, kind) && is_in_namespace_of(context.pid, root, kind);
  });
  check_time_namespace(context);
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

}  // namespace

class TreeCapture::Rooms {
 public:
  Rooms(const StoppedTree& tree, Surveys& surveys, const CheckpointOptions& options, Refusals& refusals,
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
      processes_.push_back({.pid = member.pid,
                            .own_pid = process.pid(),
                            .pidfd = -1,
                            .threads = {},
                            .parent = static_cast<std::uint32_t>(member.parent)});
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
      places_in_root_ = borrowed.scratch_range();
      passes.run("processes", [&] {
        root.clocks_read = clocks_read_ = Clock::now();
        capture_clocks(root.pid, root.since_clocks_read(), *image_.mutable_clocks());
        capture(0, root, borrowed, main);
        for (std::size_t i = 1; i < processes_.size(); ++i) {
          if (tree_.members()[i].process) capture_descendant(i);
        }
        capture_unmapped_parts(root);
      });
      // What has timers comes before what may take long.
      passes.run("descriptors", [&] { capture_descriptors(root, processes_, *image_.mutable_descriptors()); });
      passes.run("System V objects", [&] {
        capture_system_v(root, processes_, image_);
        capture_adjustments(root, image_.system_v(), *image_.mutable_processes(0));
        const bool adjusts = has_adjustable(image_.system_v());
        for (std::size_t i = 1; i < processes_.size() && adjusts; ++i) {
          if (tree_.members()[i].process) capture_adjustments_of_descendant(i);
        }
        if (adjusts) refuse_shared_adjustments(root, processes_);
      });
      refuse_impossible_births(image_, refusals_);
      passes.run("files", [&] { keep_files(root, memories(), *image_.mutable_descriptors()); });
      if (refusals_.empty()) look_for_numbers(root);
    });
  }

  void keep_connections() { connections_.keep(); }

  const std::vector<std::vector<PageArea>>& pages() const noexcept { return pages_; }

 private:
  // Addresses and descriptors that the options name are the root's.
  static CheckpointOptions without_places(CheckpointOptions options) {
    options.exclude.clear();
    options.expendable.clear();
    options.channel = -1;
    return options;
  }

  void look_for_numbers(CaptureContext& root) const {
    if (const auto lack = PrivateDescriptors(image_, Sharing(image_)).lack()) tell_lack(root, lack->what, lack->advice);
  }

  std::vector<const image::Memory*> memories() const {
    std::vector<const image::Memory*> memories;
    for (const image::Process& process : image_.processes()) memories.push_back(&process.memory());
    return memories;
  }

  template <typename Action>
  void with_process(std::size_t index, Action&& action) {
    const StoppedTree::Member& member = tree_.members()[index];
    BorrowedProcess borrowed(*member.process, surveys_.of(member.pid).gadgets,
                             memory_of_[index] == 0U ? places_in_root_ : RemoteRange{});
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
                           .memory_of = memory_of_[index],
                           .signal_actions_of = signal_actions_of_[index],
                           .only_looks = index != 0 && !content_.keeps(),
                           .surroundings = surveys_.surroundings(),
                           .clocks_read = clocks_read_};
    action(context, borrowed, main);
  }

  void find_shared_tables() {
    std::vector<pid_t> pids;
    for (const StoppedTree::Member& member : tree_.members()) pids.push_back(member.process ? member.pid : 0);
    const std::vector<std::size_t> descriptors = first_with_same_table(pids, KCMP_FILES);
    const std::vector<std::size_t> directories = first_with_same_table(pids, KCMP_FS);
    for (std::size_t i = 0; i < pids.size(); ++i) {
      if (descriptors[i] != i) processes_[i].descriptors_of = static_cast<std::uint32_t>(descriptors[i]);
    }
    directories_of_ = others_of(directories);
    memory_of_ = others_of(first_with_same_table(pids, KCMP_VM));
    for (const std::optional<std::uint32_t>& owner : memory_of_) {
      if (owner) surveys_.note_other_writers(pids[*owner]);
    }
    signal_actions_of_ = others_of(first_with_same_table(pids, KCMP_SIGHAND));
  }

  using OtherProcesses = std::vector<std::optional<std::uint32_t>>;

  static OtherProcesses others_of(const std::vector<std::size_t>& first) {
    OtherProcesses others(first.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      if (first[i] != i) others[i] = static_cast<std::uint32_t>(first[i]);
    }
    return others;
  }

  void capture(std::size_t index, CaptureContext& context, BorrowedProcess& borrowed, AskedAhead& main) {
    pages_[index] = capture_process(context, processes_.front().pid, surveys_.of(context.pid).memory, borrowed, main,
                                    *image_.mutable_processes(static_cast<int>(index)));
    if (image_.processes(static_cast<int>(index)).memory().asynchronous_io_size() > 0)
      surveys_.note_other_writers(context.pid);
    if (index == 0) return;
    capture_own_clocks(context, processes_[processes_[index].parent].pid,
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
  image::Tree& image_;
  Clock::time_point clocks_read_ = Clock::now();
  RemoteRange places_in_root_;  // in the memory of the root, while that is borrowed
  std::vector<CapturedProcess> processes_;
  OtherProcesses directories_of_;
  OtherProcesses memory_of_;
  OtherProcesses signal_actions_of_;
  std::vector<std::vector<PageArea>> pages_;
};

TreeCapture::TreeCapture(const StoppedTree& tree, Surveys& surveys, const CheckpointOptions& options,
                         Refusals& refusals, std::vector<std::string>& warnings, ContentStore& content,
                         image::Tree& image)
    : rooms_(std::make_unique<Rooms>(tree, surveys, options, refusals, warnings, content, image)) {}

TreeCapture::~TreeCapture() = default;

void TreeCapture::run(Passes& passes) { rooms_->run(passes); }

void TreeCapture::keep_connections() { rooms_->keep_connections(); }

const std::vector<std::vector<PageArea>>& TreeCapture::pages() const noexcept { return rooms_->pages(); }

}  // namespace crs::engine
