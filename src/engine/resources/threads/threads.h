// The threads of a process: registers, thread-local bookkeeping of the kernel, and the waits they were caught in.
#pragma once

#include <memory>
#include <vector>

#include "engine/newborn/ids.h"
#include "engine/resources/context.h"
#include "engine/resources/threads/remembered_waits.h"
#include "engine/resources/threads/threads.pb.h"
#include "engine/resources/threads/timed_wait.h"
#include "engine/resources/timers/timers.pb.h"
#include "engine/tracee/newborn_thread.h"
#include "engine/tracee/stopped_process.h"

namespace crs::engine {

// What capture_thread() is going to ask.
void foresee_thread(Questions& questions);
// Captures what belongs to `thread`. `remote` is that thread, borrowed.
void capture_thread(CaptureContext& context, const StoppedThread& thread, RemoteCaller& remote, image::Thread& image);

// The same of a main thread that has ended while others go on. `pid` is the process's id.
void capture_ended_thread(pid_t pid, image::Thread& image);

// Throws an Error of kind Damaged if the image's threads cannot be.
void check_threads(CheckContext& context, const image::Threads& threads);

// Builds the threads of a restarted program, in the order of its functions.
class ThreadRestart {
 public:
  // `main` is the newborn's main thread; `image` must outlive this and have passed check_threads().
  ThreadRestart(NewbornThread& main, const image::Threads& image);

  // Makes all further threads and fills context.threads and context.new_ids. To be called when the memory is complete:
  // where ids are others than they were, the ones that the C library caches are corrected in it.
  void create(RestoreContext& context, IdPlan::ThreadIds ids);
  // What each thread has of its own: robust list, rseq, signals, attributes.
  void restore(RestoreContext& context, const image::Timers& timers);
  // What changing credentials would undo.
  void restore_after_credentials(RestoreContext& context);
  // Continues the waits of limited length and gives every thread its registers and its signal mask; a main thread that
  // had ended does so first of all when it is let run. The newborn's home
  // (its range `context.reserved`) and its private descriptors are gone afterwards: no remote call is possible any
  // more.
  void finish(RestoreContext& context);
  // The waits that finish() continued. To be asked for last of all before the threads run.
  std::vector<RememberedWait> waits() const;
  // Lets all threads run. `is_child`: the process is the caller's child, whose end the caller will wait for.
  void detach(bool is_child) noexcept;

 private:
  struct Entry {
    const image::Thread* image;
    NewbornThread* thread;
    user_regs_struct registers;
    std::uint64_t wait_ends = 0;  // on CLOCK_MONOTONIC, in nanoseconds
  };

  const image::Threads& image_;
  std::vector<std::unique_ptr<NewbornThread>> created_;
  std::vector<Entry> entries_;
};

}  // namespace crs::engine
