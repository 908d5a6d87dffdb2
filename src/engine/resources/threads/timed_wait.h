// Waits of limited length that the kernel continues by itself (restart_syscall(2)) as long as the process lives. In a
// restarted copy the call is made again with the time that remained.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "engine/resources/threads/remembered_waits.h"
#include "engine/resources/threads/threads.pb.h"
#include "engine/tracee/newborn_thread.h"
#include "engine/tracee/remote_memory.h"
#include "engine/tracee/stopped_process.h"

namespace crs::engine {

// What could be seen of the threads' waits while they were still undisturbed.
class WaitsBefore {
 public:
  WaitsBefore() = default;
  // Looks at every thread of the running process `pid`. Never throws: what cannot be seen is missing.
  explicit WaitsBefore(pid_t pid) noexcept;

  struct Wait {
    int call = 0;                        // the system call's number, or that of restart_syscall(2)
    std::string channel;                 // the kernel function it waits in (/proc/PID/wchan), or empty
    std::optional<std::uint64_t> since;  // when the thread last ran: CLOCK_MONOTONIC, in nanoseconds
    std::uint64_t sleeps = 0;            // how often it had gone to sleep
  };
  const Wait* find(pid_t tid) const;
  // Nanoseconds that a thread, which has just been stopped and made no call since, had been waiting in its call;
  // nothing if it is not known, or if the thread has been awake between the look and the stop.
  std::optional<std::uint64_t> elapsed(pid_t tid) const;

 private:
  std::map<pid_t, Wait> waits_;
};

// Whether system call `call` waits for a limited time that only the kernel knows how to continue.
bool is_timed_wait(int call);

// Finds the threads of `process` that were caught in a wait that only the kernel can continue, and what remains of it
// (StoppedThread::wait). Where a seccomp filter would not let the kernel do that, the thread makes its call again
// instead. To be called while nothing of the process is borrowed.
void note_limited_waits(StoppedProcess& process, const WaitsBefore& waits, const RememberedWaits& remembered);

// Makes the call again in `thread`, which is to have registers `registers` afterwards, until it waits; then the kernel
// holds what it needs to continue it. Its call must be one of those. Returns the registers to give the thread: the
// given ones if it waits, or with the call's result if it came at once.
user_regs_struct continue_timed_wait(NewbornThread& thread, user_regs_struct registers, const image::TimedWait& wait);

}  // namespace crs::engine
