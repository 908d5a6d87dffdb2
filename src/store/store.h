// The store: the snapshots of one user on disk, STORE/JOB/SEQ (docs/snapshot-format.md).
//
// A snapshot is made by one writer and is complete from the moment it can be seen; afterwards it is never modified,
// only removed as a whole. Any number of processes may use a store at once. Nothing in it is reached through a symbolic
// link.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "crs/component.hpp"
#include "store/disk.h"
#include "store/manifest.h"
#include "store/reference.h"
#include "store/set_aside.h"
#include "store/snapshot_reader.h"
#include "store/snapshot_writer.h"

namespace crs {

// A committed snapshot.
struct SnapshotInfo {
  Reference reference;       // with its sequence number
  std::string location;      // absolute
  store::Manifest manifest;  // empty if `damage` is set
  // Why the manifest cannot be read. Only in listings: to open such a snapshot throws.
  std::optional<Error> damage;

  // For Module::restart().
  Snapshot to_snapshot() const;
};

struct RemovedSnapshots {
  std::vector<Reference> references;
  std::uint64_t bytes = 0;  // of their files, without what later snapshots go on to hold
  // Where parts of the user's files lie that restarts took out; kept when a job's snapshots are removed. Empty: there
  // are none.
  std::string set_aside;
};

// Const member functions may be called from several threads at once.
class Store {
 public:
  // $CRS_STORE, else $XDG_STATE_HOME/crs, else ~/.local/state/crs (absolute); the home directory is $HOME or, without
  // it, the one of the password file. Throws if there is none.
  static std::string default_location();

  // A store that does not exist yet has no snapshots, and is created (mode 0700) when something is to be put into it.
  // Throws if `location` is another user's or open to others.
  explicit Store(const std::string& location = default_location(),
                 std::shared_ptr<Disk> disk = std::make_shared<Disk>());

  const std::string& location() const { return location_; }

  // Begins a snapshot of `request.job`. Waits while another one of this job is being made; throws when
  // request.wait_limit has passed.
  std::unique_ptr<SnapshotWriter> begin(const SnapshotRequest& request);

  // The snapshots of one job or of all, by job and then sequence; those with a damaged manifest too. Cleans leftovers.
  std::vector<SnapshotInfo> list(const std::optional<std::string>& job = std::nullopt) const;

  // The snapshot, or the newest of the job. Throws an Error of kind NotFound or Damaged.
  SnapshotInfo open(const Reference& reference) const;
  // Throws an Error of kind NotFound if there is no such snapshot, whatever its condition.
  void check_present(const Reference& reference) const;
  // By its directory alone, which may lie outside of any store.
  static SnapshotInfo open_location(const std::string& location);

  // Removes one snapshot: JOB@SEQ, or JOB for its newest. Later ones keep what they share with it.
  RemovedSnapshots remove(const Reference& reference);
  // Removes all snapshots of a job, newest first.
  RemovedSnapshots remove_job(const std::string& job);

  // A place for what a restart of `reference` takes out of the user's files.
  SetAside make_set_aside(const Reference& reference);

  // A file in the job's directory for CheckpointOptions and RestartOptions. The directory is created.
  std::string remembered_path(const std::string& job);
  // Its path, whether there is a directory or not.
  std::string path_if_remembered(const std::string& job) const;

  // The job's directory; created if asked for. For running_jobs.
  std::optional<JobDirectory> open_job(const std::string& job) const;
  JobDirectory create_job(const std::string& job);
  // The result of use(JobDirectory), with a directory that is there; made again, and used again, where another one
  // removed it meanwhile (JobDirectory::remove_if_unused).
  template <typename Use>
  auto with_job(const std::string& job, const Use& use) {
    constexpr int kAttempts = 100;  // that it is removed even twice in a row takes two more failing first checkpoints
    for (int attempt = 1;; ++attempt) {
      try {
        return use(create_job(job));
      } catch (const Error& error) {
        if (error.error_number() != ENOENT || attempt == kAttempts) throw;
      }
    }
  }
  // The jobs that have a directory, sorted.
  std::vector<std::string> jobs() const;

  Disk& disk() const { return *disk_; }

 private:
  struct LockedJob {
    JobDirectory directory;
    std::optional<FileLock> lock;  // empty: the limit has passed
  };

  LockedJob lock_job(const SnapshotRequest& request);
  FileDescriptor open_root() const;
  FileDescriptor create_root();
  JobDirectory open_job_of(const Reference& reference) const;
  std::uint64_t sequence_of(const JobDirectory& directory, const Reference& reference) const;
  // Of its files the manifest alone, or also whether they are there: what is wrong with them stands beside the
  // manifest.
  enum class Look { Manifest, Files };
  SnapshotInfo inspect(const JobDirectory& directory, std::uint64_t sequence, Look look) const;
  void remove_sequence(const JobDirectory& directory, std::uint64_t sequence, RemovedSnapshots& removed);

  std::string location_;
  std::shared_ptr<Disk> disk_;
  std::vector<std::string> made_;  // the store's directory and those above it that were missing, uppermost first
};

}  // namespace crs
