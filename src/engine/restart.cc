#include "engine/restart.h"

#include <algorithm>
#include <csignal>

#include "base/error.h"
#include "base/io.h"
#include "engine/image/process.pb.h"
#include "engine/newborn/newborn.h"
#include "engine/passes.h"
#include "engine/resources/context.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/threads/threads.h"
#include "engine/tracee/child_signal.h"

namespace crs::engine {
namespace {

image::Process read_image(const std::string& location) {
  const std::string path = location + "/process";
  image::Process image;
  if (!image.ParseFromString(read_file(path))) fail(ErrorKind::Damaged, "{} is not the image of a process", path);
  if (image.pid() <= 0) fail(ErrorKind::Damaged, "{} has no process id", path);
  return image;
}

std::vector<pid_t> ids_of(const image::Process& image) {
  std::vector<pid_t> ids;
  for (const image::Thread& thread : image.threads().threads()) ids.push_back(thread.tid());
  return ids;
}

std::array<int, 3> own_standard_streams() {
  std::array<int, 3> streams{};
  for (int number = 0; number < 3; ++number) streams[static_cast<std::size_t>(number)] = ::fcntl(number, F_GETFD) >= 0 ? number : -1;
  return streams;
}

}  // namespace

RestartedProgram restart(const Snapshot& snapshot, const RestartOptions& options) {
  const ChildSignalBlocked child_signal;
  Passes passes;
  RestartedProgram program;
  const ContentStore content(snapshot.location);

  // Check everything that can be checked before a process exists.
  const image::Process image = passes.run("read image", [&] { return read_image(snapshot.location); });
  passes.run("check", [&] {
    CheckContext context{options, content, program.notes};
    check_threads(context, image.threads());
  });
  const IdPlan plan = passes.run("plan ids", [&] { return plan_ids(options.ids, ids_of(image)); });
  if (!plan.note.empty()) program.notes.push_back(plan.note);

  // Make the process; it prepares itself as far as ordinary code can.
  const int first_private_descriptor = 1000;
  const auto prepare = [&] {
    std::vector<std::string> notes;
    [[maybe_unused]] NewbornContext context{options, content, notes, own_standard_streams(), first_private_descriptor};
    return notes;
  };
  auto newborn = passes.run("newborn", [&] { return std::make_unique<Newborn>(plan, image.pid(), first_private_descriptor, prepare); });
  program.notes.insert(program.notes.end(), newborn->notes().begin(), newborn->notes().end());

  // Take it over and give it a home outside all that the program's memory will occupy.
  newborn->take_over();
  ThreadRestart threads(newborn->main_thread(), image.threads());
  RestoreContext context{.pid = newborn->pid(),
                         .remote = newborn->main_thread(),
                         .memory = newborn->memory(),
                         .options = options,
                         .content = content,
                         .notes = program.notes,
                         .first_private_descriptor = first_private_descriptor,
                         .reserved = newborn->settle(occupied_ranges(image.memory())),
                         .threads = {},
                         .new_ids = {}};

  // Memory, then threads, then what belongs to each of them.
  passes.run("threads", [&] {
    threads.create(context, plan.way != IdPlan::Way::Fresh);
    threads.restore(context);
  });

  // From here on nothing can be undone: give every thread its registers and let it run.
  threads.finish(context);
  if (image.stopped()) ::kill(newborn->pid(), SIGSTOP);
  program.pid = newborn->pid();
  program.wait_pid = newborn->wait_pid();
  newborn->release();
  threads.detach();
  program.passes = passes.list();
  return program;
}

}  // namespace crs::engine
