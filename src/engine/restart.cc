#include "engine/restart.h"

#include <algorithm>
#include <csignal>

#include "base/error.h"
#include "base/io.h"
#include "engine/image/process.pb.h"
#include "engine/newborn/newborn.h"
#include "engine/passes.h"
#include "engine/resources/attributes/attributes.h"
#include "engine/resources/attributes/limits.h"
#include "engine/resources/context.h"
#include "engine/resources/credentials/credentials.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/sessions/sessions.h"
#include "engine/resources/signals/signals.h"
#include "engine/resources/threads/threads.h"
#include "engine/resources/timers/timers.h"
#include "engine/tracee/child_signal.h"
#include "engine/tracee/id_taken.h"

namespace crs::engine {
namespace {

image::Process read_image(const std::string& location) {
  const std::string path = location + "/process";
  image::Process image;
  if (!image.ParseFromString(read_file(path))) fail(ErrorKind::Damaged, "{} is not the image of a process", path);
  if (image.pid() <= 0) fail(ErrorKind::Damaged, "{} has no process id", path);
  return image;
}

std::uint32_t content_objects_of(const image::Process& image) {
  return static_cast<std::uint32_t>(image.descriptors().objects_size());
}

// Every room's answer to "can this be brought back here?", before anything is started.
void check_process(CheckContext& context, const image::Process& image) {
  check_threads(context, image.threads());
  if (image.threads().threads(0).tid() != image.pid()) {
    fail(ErrorKind::Damaged, "the main thread of process {} has id {}", image.pid(), image.threads().threads(0).tid());
  }
  check_memory(context, image.memory(), content_objects_of(image));
  check_descriptors(context, image.descriptors());
  check_signals(context, image.signals());
  check_timers(context, image.timers());
  check_credentials(context, image.credentials());
  check_attributes(context, image.attributes());
}

// The numbers of the newborn's private descriptors: none is one of the program's.
struct PrivateDescriptors {
  explicit PrivateDescriptors(const image::Process& image)
      : all(choose_private_numbers(image.descriptors(), private_descriptors_needed(image.descriptors()) +
                                                            memory_descriptors_needed(image.memory()))),
        memory(all.first + private_descriptors_needed(image.descriptors())) {}

  PrivateNumbers all;  // first the channel and the descriptors room's own
  int memory;          // then files to be mapped
};

std::vector<pid_t> ids_of(const image::Process& image) {
  std::vector<pid_t> ids;
  for (const image::Thread& thread : image.threads().threads()) ids.push_back(thread.tid());
  return ids;
}

std::array<int, 3> own_standard_streams() {
  std::array<int, 3> streams{};
  for (int number = 0; number < 3; ++number)
    streams[static_cast<std::size_t>(number)] = ::fcntl(number, F_GETFD) >= 0 ? number : -1;
  return streams;
}

// NOLINTNEXTLINE(readability-function-size): a story is a list of steps
RestartedProgram restart_once(const Snapshot& snapshot, const RestartOptions& options) {
  Passes passes;
  RestartedProgram program;
  const ContentStore content(snapshot.location);

  // Check everything that can be checked before a process exists.
  const image::Process image = passes.run("read image", [&] { return read_image(snapshot.location); });
  passes.run("check", [&] {
    CheckContext context{options, content, program.notes};
    check_process(context, image);
  });
  const IdPlan plan = passes.run("plan ids", [&] {
    return options.replace_caller ? plan_ids_of_caller(options.ids, ids_of(image))
                                  : plan_ids(options.ids, ids_of(image));
  });
  if (options.check_only) return program;
  if (!plan.note.empty()) program.notes.push_back(plan.note);

  // Make the process; it prepares itself as far as ordinary code can.
  const PrivateDescriptors numbers(image);
  const SessionPlace place = session_place(image.session(), options);
  const auto prepare = [&] {
    std::vector<std::string> notes;
    NewbornContext context{options, content, notes, own_standard_streams(), numbers.all.first, numbers.all.end};
    restore_session_inside(place);
    lift_soft_limits_inside();
    restore_descriptors_inside(context, image.descriptors());
    restore_memory_inside(context, image.memory(), numbers.memory);
    restore_signals_inside(context, image.signals());
    restore_attributes_inside(context, image.attributes());
    return notes;
  };
  Newborn newborn(plan, image.pid(), numbers.all.first, prepare);
  passes.run("newborn", [&] { newborn.start(); });
  program.notes.insert(program.notes.end(), newborn.notes().begin(), newborn.notes().end());

  // Take it over and give it a home outside all that the program's memory will occupy.
  newborn.take_over();
  RestoreContext context{.pid = newborn.pid(),
                         .remote = newborn.main_thread(),
                         .memory = newborn.memory(),
                         .options = options,
                         .content = content,
                         .notes = program.notes,
                         .first_private_descriptor = numbers.all.first,
                         .end_private_descriptor = numbers.all.end,
                         .reserved = newborn.settle(occupied_ranges(image.memory())),
                         .threads = {},
                         .new_ids = {}};

  ThreadRestart threads(newborn.main_thread(), image.threads());

  // Memory, then threads, then what belongs to each of them.
  MemoryRestore memory(context, image.memory(), numbers.memory);
  passes.run("memory areas", [&] { memory.map_areas(); });
  passes.run("pages", [&] { options.lazy ? memory.load_pages_lazily() : memory.load_pages(); });
  passes.add_bytes(image.memory().page_bytes());
  passes.run("threads", [&] { threads.create(context, plan.thread_ids); });
  passes.run("memory settings", [&] { memory.finish(); });
  passes.run("attributes", [&] {
    restore_attributes(context, image.attributes());
    restore_state_components(context, image.attributes());
    threads.restore(context);
  });
  passes.run("timers", [&] { restore_timers(context, image.timers()); });
  passes.run("credentials", [&] {
    restore_credentials(context, image.credentials());
    threads.restore_after_credentials(context);
    finish_attributes(context, image.attributes());
  });

  // The last steps that can fail; the user's files are touched only when nothing else can.
  passes.run("activate", [&] {
    activate_descriptors(context, image.descriptors());
    activate_timers(context, image.timers());
    commit_set_aside(options, image.descriptors(), program.notes);
  });

  if (options.before_start) options.before_start(newborn.pid());

  // From here on nothing can be undone: give every thread its registers and let it run.
  threads.finish(context);
  if (image.stopped()) {
    ::kill(newborn.pid(), SIGSTOP);
    program.notes.push_back(fmt::format(
        "the program was stopped at the checkpoint and is so again: the shell's 'fg', or 'kill -CONT {}', continues it",
        newborn.pid()));
  }
  program.pid = newborn.pid();
  program.wait_pid = newborn.wait_pid();
  newborn.release();
  const std::vector<RememberedWait> waits = threads.waits();
  threads.detach(program.pid == program.wait_pid);
  remember_waits(options.remembered_path, program.pid, waits);
  program.passes = passes.list();
  return program;
}

}  // namespace

RestartedProgram restart(const Snapshot& snapshot, const RestartOptions& options) {
  constexpr int kAttempts = 3;
  const ChildSignalBlocked child_signal;
  for (int attempt = 1;; ++attempt) {
    try {
      return restart_once(snapshot, options);
    } catch (const IdTaken&) {
      // Nothing that a user would see has happened yet; a new plan finds the id in use and another way.
      if (options.ids != Ids::Automatic || attempt == kAttempts) throw;
    }
  }
}

}  // namespace crs::engine
