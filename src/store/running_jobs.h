// Which jobs run now, by name: one small file in each job's directory of the store.
//
// An entry names a process by pid, start time, boot and pid namespace, so that a pid that was given to another process
// since is recognised; such an entry is dropped when it is met. One store may be used by several machines: an entry of
// another machine, or of another pid namespace, says nothing here and is left alone until its name is announced anew.
//
// Safe between processes. An object is used by one thread at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/store.h"

namespace crs {

struct RunningJob {
  std::string job;
  pid_t pid = 0;
  bool restarting = false;  // the process is not the program, but the `crs restart` that is making it
};

enum class Runner { Program, Restart };

class RunningJobs {
 public:
  // `store` outlives the object.
  explicit RunningJobs(Store& store) : store_(store) {}

  // Records that process `pid` runs `job`, or makes it. Throws if a running process other than `predecessor`, which it
  // follows without a moment between, has this name already, or if `pid` is gone.
  void announce(const std::string& job, pid_t pid, pid_t predecessor = 0, Runner runner = Runner::Program);
  // Ends the entry of `job` if it is that of `pid`.
  void withdraw(const std::string& job, pid_t pid);

  // Throws, with advice, if a running process other than `except` has this name: to ask before a program is started.
  // Waits for one that is ending already, 10 s at most.
  void check_free(const std::string& job, pid_t except = 0) const;

  std::optional<RunningJob> find(const std::string& job) const;
  std::optional<RunningJob> find_process(pid_t pid) const;
  // Sorted by name.
  std::vector<RunningJob> list() const;

 private:
  Store& store_;
};

// Field 22 of /proc/PID/stat. Empty: there is no such process, or it is a zombie.
std::optional<std::uint64_t> start_time_of(pid_t pid);
// The same of the text of such a file. Empty also for a text that is none.
std::optional<std::uint64_t> parse_start_time(std::string_view stat);

}  // namespace crs
