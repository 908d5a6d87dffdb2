// A process and its descendants, as /proc shows them at one moment (proc_tid_children(5)).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "base/file_descriptor.h"

namespace crs::engine {

// What `crs run` calls its process in /proc/PID/comm: it adopts the orphans of its program (PR_SET_CHILD_SUBREAPER).
inline constexpr const char* kRunnerName = "crs-run";
// The same of the init of a restarted program's process id namespace.
inline constexpr const char* kInitName = "crs-init";
// What takes a snapshot calls itself so: `crs run` starts some.
inline constexpr const char* kCheckpointName = "crs-checkpoint";
// What holds the tracking of a program's writes (tracking/tracking_keeper.h), and what brings its memory after a lazy
// restart (resources/memory/lazy_pages.h).
inline constexpr const char* kKeeperName = "crs-tracker";
inline constexpr const char* kPagerName = "crs-pager";
// What holds the TCP connections of a program that was ended (inet_sockets/held_connections.h).
inline constexpr const char* kHolderName = "crs-connections";

struct TreeProcess {
  pid_t pid = 0;           // as the caller sees it: living_thread_of() it
  std::size_t parent = 0;  // index in the list; of the root 0
  bool adopted = false;    // an orphan that lives below whoever adopts the orphans of this tree; `parent` is 0
};

// The id by which a process can be looked at: its own or, where its main thread has ended while others go on, that of
// one of these. The kernel keeps nothing with a thread that has ended, and takes the id of any other for the process's
// in nearly every place. `pid` itself if it is gone, or a zombie.
pid_t living_thread_of(pid_t pid);
// The process that thread `tid` belongs to. Throws ProgramGone.
pid_t process_of(pid_t tid);
// pidfd_open(2) for an id as living_thread_of() gives it. Throws Refused if it is a thread's and the kernel cannot
// (before Linux 6.9).
FileDescriptor open_process(pid_t pid);

// The children of all threads of `pid`, without the calling process; none if it is gone.
std::vector<pid_t> children_of(pid_t pid);

// What crs starts beside a program is not of the program: it runs crs under a name of its own.
bool is_helper_of_crs(pid_t pid);

// `root` first, each behind its parent. Where the parent of `root` is there only to adopt the orphans of its program,
// they belong to the tree. Whoever is made or ends meanwhile may be missing.
std::vector<TreeProcess> tree_of(pid_t root);

// Whether there is such a process, with memory: it has not ended and is not about to.
bool is_running(pid_t pid);

// Whether thread `tid` has ended, or is about to whatever happens (from do_exit() in kernel/exit.c on).
bool is_exiting(pid_t tid);

// A thread of the kernel's, which has no memory of its own either.
bool is_of_kernel(pid_t pid);

// Whether it has ended, whole, and waits for its parent to notice.
bool is_zombie(pid_t pid);

// Field `number` of /proc/PID/stat (proc_pid_stat(5)); 3 or higher. Throws ProgramGone if there is no such process.
long stat_number(pid_t pid, int number);

// /proc/PID/comm, or "?" if it is gone.
std::string name_of_process(pid_t pid);

}  // namespace crs::engine
