// STORE/JOB: the directory that holds the snapshots of one job, and the rules for its entries.
//
//   N                    the snapshot JOB@N, complete
//   .partial-N-XXXXXX    one in the making; a leftover if nobody holds the lock
//   .removed-N-XXXXXX    one being removed
//   lock                 held by whoever makes a snapshot of this job, from begin to commit
//   sequence             the highest sequence number ever given to a snapshot (sequence.new: while it is replaced)
//   running, running.lock   who runs the job now (running_jobs.h)
//   remembered           what a component wants to know of the running program at its next checkpoint
//   remembered.loading     locked while the memory of a lazily restarted program is still coming
//   layers-N, layers.lock   what the program's layers needed after the commit of JOB@N (layer_times.h)
//   set-aside/           what restarts took out of the user's files (set_aside.h)
//
// The directory itself stays when its last snapshot is removed, so that no number is given twice. It goes when a first
// checkpoint fails.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "store/disk.h"
#include "store/file_lock.h"

namespace crs {

class JobDirectory {
 public:
  // Null if the job has no directory.
  static std::optional<JobDirectory> open(int store, const std::string& store_path, const std::string& job);
  // Creates it if it is not there: durable when the store's directory has been synced. As long as it is empty anybody
  // may remove it, so that comes later.
  static JobDirectory create(int store, const std::string& store_path, const std::string& job);
  // The store's directory, which it stands in.
  FileDescriptor open_store() const;

  int descriptor() const { return directory_.get(); }
  const std::string& job() const { return job_; }
  const std::string& path() const { return path_; }

  // The sequence numbers of the complete snapshots, ascending.
  std::vector<std::uint64_t> sequences() const;
  bool has(std::uint64_t sequence) const;
  // Higher than that of any snapshot this job has or had. The caller holds the lock.
  std::uint64_t next_sequence() const;
  // Makes `sequence`, once it is put and durable, one that is never given again.
  Replacement record_of(Disk& disk, std::uint64_t sequence) const;
  bool has_record() const;  // or may have
  // Of a first snapshot that failed.
  void remove_record() const noexcept;

  // Removes what interrupted checkpoints and removals left. The caller holds the lock.
  void clean_leftovers() const;
  // The same, unless a snapshot is being made just now or the store cannot be written; then leftovers wait for another
  // time.
  void clean_leftovers_if_idle() const;
  // Removes the directory if it holds nothing but locks, of which the caller holds that of the job, and what is
  // remembered of the program for a next snapshot: a job that never had one leaves no trace. Others who were about to
  // use it find that it is gone (ENOENT) and make it again.
  void remove_if_unused() const noexcept;

 private:
  JobDirectory(FileDescriptor directory, std::string job, std::string path)
      : directory_(std::move(directory)), job_(std::move(job)), path_(std::move(path)) {}

  std::uint64_t recorded_sequence() const;

  FileDescriptor directory_;
  std::string job_;
  std::string path_;
};

inline constexpr const char* kJobLockName = "lock";
inline constexpr const char* kRunningLockName = "running.lock";  // of RunningJobs
// What the checkpointer keeps between two snapshots of a program (native: how it tracks what is written).
inline constexpr const char* kRememberedName = "remembered";
inline constexpr const char* kPartialPrefix = ".partial-";
inline constexpr const char* kRemovedPrefix = ".removed-";

// Creates a fresh directory PATH/PREFIXXXXXXX, mode 0700, and gives its name.
std::string make_unique_directory(const std::string& path, const std::string& prefix);

}  // namespace crs
