#include "engine/restart.h"

#include <algorithm>
#include <csignal>
#include <memory>
#include <optional>
#include <ranges>
#include <set>

#include "base/error.h"
#include "base/io.h"
#include "engine/image/process.pb.h"
#include "engine/newborn/kinship.h"
#include "engine/newborn/newborn_tree.h"
#include "engine/newborn/sharing.h"
#include "engine/passes.h"
#include "engine/private_descriptors.h"
#include "engine/resources/attributes/attributes.h"
#include "engine/resources/attributes/barriers.h"
#include "engine/resources/attributes/limits.h"
#include "engine/resources/attributes/scheduling.h"
#include "engine/resources/clocks/clocks.h"
#include "engine/resources/context.h"
#include "engine/resources/credentials/credentials.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/descriptors/files/kept_files.h"
#include "engine/resources/descriptors/inet_sockets/kept_connections.h"
#include "engine/resources/descriptors/message_queues/message_queues.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/memory/shared_objects.h"
#include "engine/resources/processor/local_descriptors.h"
#include "engine/resources/sessions/sessions.h"
#include "engine/resources/signals/signals.h"
#include "engine/resources/system_v/system_v.h"
#include "engine/resources/threads/clock_waits.h"
#include "engine/resources/threads/threads.h"
#include "engine/resources/timers/timers.h"
#include "engine/tracee/child_signal.h"
#include "engine/tracee/id_taken.h"
#include "engine/tracking/restart_tracking.h"
#include "engine/tree_check.h"
#include "store/extents/extent_file.h"

namespace crs::engine {
namespace {

bool has_orphans(const image::Tree& tree) { return std::ranges::any_of(tree.processes(), &image::Process::adopted); }

// Nothing: they are to be those of the machine, or may not be set here.
std::optional<ClockStart> clocks_for(const IdPlan& plan, const image::Tree& tree, const RestartOptions& options) {
  const bool may = may_set_clocks(plan.way == IdPlan::Way::UserNamespace);
  if (options.clocks == Clocks::OfMachine || !tree.has_clocks() || !may) return std::nullopt;
  return clock_start_of(tree.clocks());
}

void note_waits_of_boot(const image::Tree& tree, std::vector<std::string>& notes) {
  const bool another_clock = had_another_clock(tree.clocks());
  for (const image::Process& process : tree.processes())
    note_waits_of_another_boot(notes, process.threads(), another_clock);
}

// Those of the root first.
std::vector<pid_t> ids_of(const image::Tree& tree, const Kinship& kinship) {
  std::vector<pid_t> ids;
  for (const image::Process& process : tree.processes()) {
    if (process.zombie()) ids.push_back(process.pid());
    for (const image::Thread& thread : process.threads().threads()) ids.push_back(thread.tid());
  }
  for (const pid_t id : kinship.ids_of_helpers()) ids.push_back(id);
  return ids;
}

std::array<int, 3> own_standard_streams() {
  std::array<int, 3> streams{};
  for (int number = 0; number < 3; ++number)
    streams[static_cast<std::size_t>(number)] = ::fcntl(number, F_GETFD) >= 0 ? number : -1;
  return streams;
}

// What the newborns do by themselves, as far as ordinary code can.
class Preparation {
 public:
  Preparation(const image::Tree& tree, const RestartOptions& options, const ContentStore& content,
              const KeptFiles& kept_files, const KeptConnections& connections, const SharedPlaces& shared,
              const PrivateDescriptors& numbers, const Sharing& sharing, SessionPlace place, bool clocks_go_on)
      : tree_(tree),
        options_(options),
        content_(content),
        kept_files_(kept_files),
        connections_(connections),
        shared_(shared),
        numbers_(numbers),
        sharing_(sharing),
        place_(place),
        clocks_go_on_(clocks_go_on),
        streams_(own_standard_streams()),
        process_ids_(process_ids_of(tree)) {}

  // In the root, for all.
  void begin() {
    restore_session_inside(place_);
    lift_soft_limits_inside();
    root_context_.emplace(context_of(0));
    make_system_v_inside(*root_context_, tree_.system_v());
    shared_.make_inside();
    finish_system_v_inside(*root_context_, tree_.system_v());
    opened_ = std::make_unique<OpenedDescriptions>(*root_context_, tree_.descriptors());
  }

  // In the root, when all are there.
  void complete() {
    try {
      opened_->complete();
    } catch (...) {
      opened_.reset();  // takes away what it has made in the file system
      throw;
    }
  }

  // In each other process, before its children are made.
  void begin_descendant(std::size_t index) {
    forget_notes_of_others(index);
    NewbornContext context = context_of(index);
    const image::Process& process = tree_.processes(static_cast<int>(index));
    if (clocks_go_on_ && process.has_clocks()) enter_clocks_inside(context, process.clocks());
    open_own_inside(context, tree_.descriptors());
  }

  // In each of them that leads a session.
  void lead_session(std::size_t index) {
    NewbornContext context = context_of(index);
    lead_session_inside(context, tree_.descriptors());
  }

  // In each process. Returns notes for the user.
  std::vector<std::string> prepare(std::size_t index) {
    const image::Process& process = tree_.processes(static_cast<int>(index));
    NewbornContext context = context_of(index);
    if (!sharing_.any_table()) {
      place_own_descriptors(context);
    } else if (sharing_.descriptors_of(index) != index) {
      join_descriptors_inside(context, tree_.descriptors());
    }
    restore_memory_inside(context, process.memory(), numbers_.of_memory(index));
    restore_signals_inside(context, process.signals(), process.timers());
    restore_attributes_inside(context, process.attributes());
    if (!sharing_.any_table()) restore_directories_inside(context, process.attributes());
    return std::move(notes_);
  }

  // Where tables are shared, when all are prepared: in another order no file that one has open for a moment would be
  // safe from another's placing his, and no path would lead where it does now.
  std::vector<std::string> place_descriptors(std::size_t index) {
    NewbornContext context = context_of(index);
    if (sharing_.descriptors_of(index) == index) place_own_descriptors(context);
    return std::move(notes_);
  }

  // And then.
  void enter_directories(std::size_t index) {
    NewbornContext context = context_of(index);
    restore_directories_inside(context, tree_.processes(static_cast<int>(index)).attributes());
  }

 private:
  // It has inherited those of its maker, unless they are its own, too.
  void forget_notes_of_others(std::size_t index) {
    if (sharing_.memory_of(index) == index) notes_.clear();
  }

  // In a shared table, what was held aside is closed by the one whose it is.
  void place_own_descriptors(NewbornContext& context) {
    opened_.reset();
    place_descriptors_inside(context, tree_.descriptors());
  }

  NewbornContext context_of(std::size_t index) {
    return {options_,
            content_,
            notes_,
            streams_,
            numbers_.all().first,
            numbers_.all().end,
            static_cast<std::uint32_t>(index),
            &kept_files_,
            &connections_,
            process_ids_};
  }

  const image::Tree& tree_;
  const RestartOptions& options_;
  const ContentStore& content_;
  const KeptFiles& kept_files_;
  const KeptConnections& connections_;
  const SharedPlaces& shared_;
  const PrivateDescriptors& numbers_;
  const Sharing& sharing_;
  SessionPlace place_;
  bool clocks_go_on_;
  std::array<int, 3> streams_;
  std::vector<pid_t> process_ids_;
  std::vector<std::string> notes_;
  std::optional<NewbornContext> root_context_;
  std::unique_ptr<OpenedDescriptions> opened_;
};

// What all processes of a restart have in common.
struct Common {
  const image::Tree& tree;
  const RestartOptions& options;
  const ContentStore& content;
  std::vector<std::string>& notes;
  const PageData& pages;
  const SharedPlaces& shared;
  const PrivateDescriptors& numbers;
  std::span<const pid_t> process_ids;
};

// A process on its way from a newborn to one of the program's.
class Rebuilt {
 public:
  Rebuilt(Newborn& made, std::uint32_t index, std::size_t memory_of, const Common& common)
      : image(common.tree.processes(static_cast<int>(index))),
        newborn(made),
        context{.pid = made.pid(),
                .remote = made.main_thread(),
                .memory = made.memory(),
                .options = common.options,
                .content = common.content,
                .notes = common.notes,
                .first_private_descriptor = common.numbers.all().first,
                .end_private_descriptor = common.numbers.all().end,
                .reserved = made.settle(occupied_ranges(common.tree.processes(static_cast<int>(memory_of)).memory())),
                .has_anothers_memory = memory_of != index,
                .inherited = common.shared.range(),
                .threads = {},
                .new_ids = {},
                .process = index,
                .process_ids = common.process_ids},
        threads(made.main_thread(), image.threads()) {
    if (memory_of == index)
      memory.emplace(context, image.memory(), common.pages, common.shared, common.numbers.of_memory(index));
  }

  void restore_threads(IdPlan::ThreadIds ids) {
    restore_barriers(context, image.attributes());
    threads.create(context, ids);
    if (memory) memory->finish();
    restore_attributes(context, image.attributes());
    if (memory && image.attributes().memory_merge()) memory->take_out_of_merging();
    restore_state_components(context, image.attributes());
    restore_local_descriptors(context, image.attributes());
    threads.restore(context, image.timers());
  }
  void restore_rights() {
    restore_timers(context, image.timers());
    restore_signals_of_timers(context, image.signals(), image.threads(), image.timers());
    restore_credentials(context, image.credentials());
    threads.restore_after_credentials(context);
    finish_attributes(context, image.attributes());
  }

  const image::Process& image;
  Newborn& newborn;
  RestoreContext context;
  ThreadRestart threads;
  std::optional<MemoryRestore> memory;  // none: another's
};

// NOLINTNEXTLINE(readability-function-size): a story is a list of steps
RestartedProgram restart_once(const Snapshot& snapshot, const RestartOptions& options, const std::set<pid_t>& taken) {
  Passes passes;
  RestartedProgram program;
  const ContentStore content(snapshot.location);

  // Check everything that can be checked before a process exists.
  image::Tree tree = passes.run("read image", [&] { return read_image(snapshot.location); });
  const bool is_tree = tree.processes_size() > 1;
  const PageData pages(snapshot.location, kPagesName, static_cast<std::size_t>(tree.processes_size()));
  KeptFiles kept_files(tree.descriptors(), content);
  const Sharing sharing(tree);
  const std::vector<pid_t> process_ids = process_ids_of(tree);
  passes.run("check", [&] {
    kept_files.check(options.changed_files);
    CheckContext context{options, content, program.notes, &kept_files, process_ids};
    check_tree(context, tree, pages);
  });
  const bool leaves_stopped = options.detach && std::ranges::any_of(tree.processes(), &image::Process::stopped);
  const SessionPlace place = session_place(tree.processes(0).session(), options, leaves_stopped);
  const Kinship kinship(tree, place == SessionPlace::OwnSession);
  IdPlan plan = passes.run("plan ids", [&] {
    const std::vector<pid_t> ids = ids_of(tree, kinship);
    if (options.replace_caller) return plan_ids_of_caller(options.ids, ids, is_tree);
    // Orphans are to be found again: below the init of a namespace where this process does not stay to adopt them.
    const bool needs_init = options.detach && options.ids == Ids::Automatic && has_orphans(tree);
    return plan_ids(needs_init ? Ids::Namespace : options.ids, ids, is_tree, taken);
  });
  plan.orphan = leaves_stopped;
  plan.clocks = clocks_for(plan, tree, options);
  if (!plan.clocks) note_waits_of_boot(tree, program.notes);
  plan.ipc_namespace =
      plan.makes_namespaces() && (needs_own_namespace(tree.system_v()) || has_own_message_queues(tree.descriptors()));
  if (!plan.ipc_namespace) leave_alone(*tree.mutable_system_v());
  SystemVPlaces system_v(tree.system_v());
  if (!plan.ipc_namespace) {
    system_v.check();
    check_message_queues(tree.descriptors());
  }
  const PrivateDescriptors numbers(tree, sharing);
  if (const auto lack = numbers.lack())
    throw Error(ErrorKind::Failed, lack->what).advise("Before that, " + lack->advice);
  if (options.check_only) return program;
  if (!plan.note.empty()) program.notes.push_back(plan.note);
  passes.run("files", [&] { kept_files.stage(program.notes); });
  KeptConnections connections(tree.descriptors());
  passes.run("connections", [&] { connections.prepare(); });

  // Make the processes; they prepare themselves as far as ordinary code can.
  const SharedPlaces shared(memories_of(tree), tree.system_v());
  Preparation preparation(tree, options, content, kept_files, connections, shared, numbers, sharing, place,
                          plan.clocks.has_value());
  Steps steps;
  const FamilyWork work{.kinship = kinship,
                        .steps = steps,
                        .first_private_descriptor = numbers.all().first,
                        .begin = [&] { preparation.begin(); },
                        .complete = [&] { preparation.complete(); },
                        .begin_descendant = [&](std::size_t index) { preparation.begin_descendant(index); },
                        .lead_session = [&](std::size_t index) { preparation.lead_session(index); },
                        .prepare = [&](std::size_t index) { return preparation.prepare(index); },
                        .place_descriptors = [&](std::size_t index) { return preparation.place_descriptors(index); },
                        .enter_directories = [&](std::size_t index) { preparation.enter_directories(index); }};
  NewbornTree newborns(plan, work, steps);
  if (!plan.ipc_namespace) system_v.begin();
  passes.run("newborn", [&] { newborns.start(); });
  program.notes.insert(program.notes.end(), newborns.notes().begin(), newborns.notes().end());

  const Common common{tree, options, content, program.notes, pages, shared, numbers, process_ids};
  // Take them over and give each a home outside all that its memory will occupy.
  std::vector<std::unique_ptr<Rebuilt>> all(newborns.processes().size());
  std::vector<RestoreContext*> contexts(all.size());
  const auto for_each = [&](auto&& action) {
    for (const std::unique_ptr<Rebuilt>& one : all) {
      if (one) for_process(tree, one->image, [&] { action(*one); });
    }
  };
  passes.run("take over", [&] {
    for (std::size_t i = 0; i < all.size(); ++i) {
      Newborn* const newborn = newborns.processes()[i].get();
      if (newborn == nullptr) continue;
      for_process(tree, tree.processes(static_cast<int>(i)), [&] {
        newborn->take_over();
        all[i] = std::make_unique<Rebuilt>(*newborn, static_cast<std::uint32_t>(i), sharing.memory_of(i), common);
        contexts[i] = &all[i]->context;
        contexts[i]->parent_ends = i == 0 && plan.orphan && !plan.makes_namespaces();
        if (sharing.memory_of(i) != i) contexts[sharing.memory_of(i)]->homes_beside.push_back(all[i]->context.reserved);
      });
    }
  });

  // Memory, then threads, then what belongs to each of them.
  const auto for_each_memory = [&](auto&& action) {
    for_each([&](Rebuilt& one) {
      if (one.memory) action(one, *one.memory);
    });
  };
  std::vector<pid_t> pids;
  for_each([&](Rebuilt& one) { pids.push_back(one.context.pid); });
  passes.run("memory areas", [&] { for_each_memory([](Rebuilt&, MemoryRestore& memory) { memory.map_areas(); }); });
  LazyStart lazy_start;
  passes.run("pages", [&] {
    for_each_memory([&](Rebuilt&, MemoryRestore& memory) {
      options.lazy ? memory.load_pages_lazily(pids, lazy_start) : memory.load_pages();
    });
  });
  RestartTracking tracking(snapshot, tree, options);
  if (tracking.wanted()) {
    passes.run("track writes", [&] {
      for_each_memory([&](Rebuilt& one, MemoryRestore& memory) {
        if (sharing.is_memory_shared(one.context.process)) return;  // it is always written in full
        tracking.add(one.context.pid, one.context.process, memory.track_writes());
      });
    });
  }
  for (const image::Memory* const memory : memories_of(tree)) passes.add_bytes(memory->page_bytes());
  passes.run("threads", [&] { for_each([&](Rebuilt& one) { one.restore_threads(plan.thread_ids); }); });
  passes.run("semaphores", [&] {
    for_each([&](Rebuilt& one) { restore_adjustments(one.context, tree.system_v(), one.image); });
    for_each([&](Rebuilt& one) { restore_last_users(one.context, tree.system_v(), one.image); });
  });
  // Those that have another's memory before that one, whose last settings are against writing there.
  passes.run("timers and credentials", [&] {
    for (const std::unique_ptr<Rebuilt>& one : all | std::views::reverse) {
      if (one) for_process(tree, one->image, [&] { one->restore_rights(); });
    }
  });

  // The last steps that can fail; the user's files are touched only when nothing else can.
  passes.run("activate", [&] {
    activate_descriptors(contexts, tree.descriptors());
    for_each([](Rebuilt& one) { activate_timers(one.context, one.image.timers()); });
    commit_set_aside(options, tree.descriptors(), program.notes);
    kept_files.commit(program.notes);
    connections.begin();
  });

  tracking.keep();
  program.pid = newborns.root().pid();
  program.wait_pid = newborns.wait_pid();
  if (options.before_start) options.before_start(program.pid);

  // From here on nothing can be undone: give every thread its registers and let it run.
  for_each([](Rebuilt& one) { one.threads.finish(one.context); });
  for_each([](Rebuilt& one) {
    if (one.image.stopped()) ::kill(one.newborn.pid(), SIGSTOP);
  });
  if (tree.processes(0).stopped()) {
    program.notes.push_back(fmt::format(
        "the program was stopped at the checkpoint and is so again: the shell's 'fg', or 'kill -CONT {}', continues it",
        program.pid));
  }
  newborns.release();
  system_v.keep();
  std::vector<RememberedWait> waits;
  for_each([&](Rebuilt& one) {
    const std::vector<RememberedWait> own = one.threads.waits();
    waits.insert(waits.end(), own.begin(), own.end());
  });
  // The root last: whoever sees it free (a checkpoint by the job's name) finds all of them free.
  for (const std::unique_ptr<Rebuilt>& one : all | std::views::reverse) {
    if (one) one->threads.detach(one->newborn.pid() == program.pid && program.pid == program.wait_pid);
  }
  lazy_start.begin();
  remember_waits(options.remembered_path, program.pid, waits);
  program.passes = passes.list();
  return program;
}

}  // namespace

RestartedProgram restart(const Snapshot& snapshot, const RestartOptions& options) {
  constexpr int kAttempts = 3;
  const ChildSignalBlocked child_signal;
  raise_descriptor_limit();
  take_time_slice_of_system();
  std::set<pid_t> taken;
  for (int attempt = 1;; ++attempt) {
    try {
      return restart_once(snapshot, options, taken);
    } catch (const IdTaken& error) {
      // What a user might see of it is done again; a new plan finds another way.
      if (options.ids != Ids::Automatic || attempt == kAttempts) throw;
      taken.insert(error.id());
    } catch (const Error& error) {
      // Ended by the process that brings its memory, before it ran? Then that is what is to be said.
      if (options.lazy && error.kind() == ErrorKind::ProgramGone) verify_extents(snapshot.location, kPagesName);
      throw;
    }
  }
}

}  // namespace crs::engine
