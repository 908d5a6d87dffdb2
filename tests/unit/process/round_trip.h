// Takes what a room captures from one child process, restores it in a newborn one, and captures it again from there.
#pragma once

#include <sys/syscall.h>

#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/resources/context.h"
#include "engine/resources/descriptors/content_objects.h"
#include "engine/tracee/borrowed_thread.h"
#include "engine/tracee/gadgets.h"
#include "engine/tracee/stopped_process.h"
#include "process/one_newborn.h"

namespace crs::test {

// Tracing wants SIGCHLD blocked, with its default action.
inline void prepare_for_tracing() {
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, nullptr);
}

// A frozen child process in the hands of a room's capture function.
class Frozen {
 public:
  explicit Frozen(pid_t pid)
      : process_(pid),
        gadgets_(engine::find_gadgets(pid, process_.memory())),
        places_(process_),
        main_(process_, process_.threads().front(), gadgets_, places_.main()) {
    for (const engine::StoppedThread& thread : process_.threads()) tids_.push_back(thread.tid);
  }

  engine::CaptureContext context() {
    return {.pid = process_.pid(),
            .own_pid = process_.pid(),
            .pidfd = -1,
            .remote = main_,
            .memory = process_.memory(),
            .threads = tids_,
            .refusals = refusals,
            .warnings = warnings,
            .content = content_,
            .leave_out = leave_out_,
            .objects = objects_,
            .options = options_};
  }
  // Runs `action` with each thread borrowed, main thread first.
  void for_each_thread(const std::function<void(engine::RemoteCaller&)>& action) {
    action(main_);
    for (std::size_t i = 1; i < process_.threads().size(); ++i) {
      engine::BorrowedThread other(process_, process_.threads()[i], gadgets_, places_.other());
      action(other);
    }
  }

  engine::Refusals refusals;
  std::vector<std::string> warnings;

 private:
  engine::StoppedProcess process_;
  engine::Gadgets gadgets_;
  engine::ScratchPlaces places_;
  engine::BorrowedThread main_;
  std::vector<pid_t> tids_;
  CheckpointOptions options_;
  engine::ContentStore content_{"/nonexistent"};
  engine::LeaveOut leave_out_;
  image::Descriptors descriptors_;
  engine::ContentObjects objects_{content_, descriptors_};
};

// A process as a restart makes it, with new ids and with the memory of this test program.
class Restarted {
 public:
  // `inside` runs in it as ordinary code.
  explicit Restarted(const std::function<void(engine::NewbornContext&)>& inside,
                     engine::IdPlan::Way way = engine::IdPlan::Way::Fresh)
      : newborn_({.way = way, .note = {}}, kWantedId, kPrivate, [this, &inside] {
          std::vector<std::string> said;
          engine::NewbornContext context{.options = options,
                                         .content = content_,
                                         .notes = said,
                                         .standard_streams = {0, 1, 2},
                                         .first_private_descriptor = kPrivate};
          inside(context);
          return said;
        }) {
    newborn_.start();
    newborn_.process().take_over();
    newborn_.process().settle({});
    notes = newborn_.notes();
    tids_.push_back(newborn_.process().pid());
  }

  pid_t pid() const { return newborn_.process().pid(); }
  engine::NewbornThread& main() { return newborn_.process().main_thread(); }

  // With `original` as the id of its main thread in the image.
  engine::RestoreContext restoring(pid_t original) {
    return {.pid = newborn_.process().pid(),
            .remote = newborn_.process().main_thread(),
            .memory = newborn_.process().memory(),
            .options = options,
            .content = content_,
            .notes = notes,
            .first_private_descriptor = kPrivate,
            .reserved = {},
            .threads = {{original, &newborn_.process().main_thread()}},
            .new_ids = {{original, static_cast<pid_t>(main().call("gettid", SYS_gettid))}}};
  }
  engine::CaptureContext capturing() {
    return {.pid = newborn_.process().pid(),
            .own_pid = static_cast<pid_t>(main().call("getpid", SYS_getpid)),
            .pidfd = -1,
            .remote = newborn_.process().main_thread(),
            .memory = newborn_.process().memory(),
            .threads = tids_,
            .refusals = refusals,
            .warnings = warnings,
            .content = content_,
            .leave_out = leave_out_,
            .objects = objects_,
            .options = wishes_};
  }

  RestartOptions options;
  std::vector<std::string> notes;
  engine::Refusals refusals;
  std::vector<std::string> warnings;

 private:
  static constexpr int kPrivate = 500;
  static constexpr pid_t kWantedId = 4321;  // used in a namespace only

  engine::ContentStore content_{"/nonexistent"};
  OneNewborn newborn_;
  std::vector<pid_t> tids_;
  engine::LeaveOut leave_out_;
  image::Descriptors descriptors_;
  engine::ContentObjects objects_{content_, descriptors_};
  CheckpointOptions wishes_;
};

}  // namespace crs::test
