// Which job or process the user means, and the register of those that run.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/job_name.h"
#include "store/running_jobs.h"

namespace crs::cli {

// Says in the store that process `pid` runs `job`, until the end of the scope.
class Announcement {
 public:
  // Throws if another process runs this job.
  Announcement(Store& store, std::string job, pid_t pid, Runner runner = Runner::Program);
  ~Announcement();
  Announcement(const Announcement&) = delete;
  Announcement& operator=(const Announcement&) = delete;

  // The job is another process's from now on.
  void hand_over(pid_t pid);
  // It stays announced after the end of the scope: the program outlives this command. The entry of a program that has
  // ended is recognised as such.
  void keep() noexcept { kept_ = true; }

 private:
  RunningJobs jobs_;
  std::string job_;
  pid_t pid_;
  bool kept_ = false;
};

// What to checkpoint, and under which name.
struct Target {
  pid_t pid = 0;
  std::string job;
  bool has_made_up_job = false;  // nobody has named it: a program that knows better counts more
};

// `text` is the name of a running job or a process id. Throws an Error of kind NotFound, Usage or Refused that says why
// it is neither or why it cannot be taken: it does not exist, has ended, is another user's, is crs itself.
Target find_target(Store& store, const std::string& text);

// The job that process `pid` runs: by the register, else `known` where that is not empty, else the name that
// default_job_name() makes of its command.
std::string job_of_process(Store& store, pid_t pid, const std::string& known);

// A job's name for a program without one: the base name of its command and its process id.
std::string default_job_name(std::string_view command, pid_t pid);

}  // namespace crs::cli
