// A snapshot in the making: a private directory in the store that becomes STORE/JOB/SEQ by commit() or vanishes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "crs/component.hpp"
#include "crs/service.hpp"
#include "store/job_directory.h"
#include "store/manifest.h"
#include "store/reference.h"

namespace crs {

// What the asker of a checkpoint knows before it begins.
struct SnapshotRequest {
  std::string job;
  std::string component;
  std::string component_version;
  InterfaceVersion interface_version;
  // How long to wait while another checkpoint of the job is going on.
  std::chrono::milliseconds wait_limit = std::chrono::minutes(10);
  // Called with one line for a person ("waiting for ..."); may be empty.
  std::function<void(const std::string&)> progress;
  // Of this machine's processors, for a component that does not say which its snapshot needs; may be empty.
  std::function<std::vector<std::string>()> cpu_features;
};

// Holds the job's lock from construction on, so that one snapshot of a job is made at a time, until commit() has
// succeeded or the object ends. Used by one thread at a time. If the process dies, the directory is a leftover: never
// listed, cleaned later.
class SnapshotWriter : public SnapshotSink {
 public:
  // Store::begin() makes them. `made_around`: the directories that did not exist before, uppermost first.
  SnapshotWriter(std::shared_ptr<Disk> disk, JobDirectory directory, FileLock lock, const SnapshotRequest& request,
                 std::vector<std::string> made_around);
  // Removes the directory unless it was committed.
  ~SnapshotWriter() override;
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  const std::string& location() const override { return location_; }
  void commit(const SnapshotContents& contents) override;

  // The layers of the program that got ready, highest first, for the manifest. One may stand there several times.
  void set_layers(const std::vector<LayerTime>& layers);

  // The content is that of `earlier`, a snapshot of the same job, written anew: when and where it was taken, and which
  // layers took part, is said again.
  void take_over(const store::Manifest& earlier);

  // JOB@SEQ, the name after the commit.
  const Reference& reference() const { return reference_; }
  // Where the snapshot is after the commit.
  std::string final_location() const;
  bool committed() const { return committed_; }
  // Complete once committed.
  const store::Manifest& manifest() const { return manifest_; }

 private:
  void write_snapshot(const SnapshotContents& contents);
  void collect_files(int directory, PendingSyncs& syncs);
  void finish_file(int directory, const std::string& name, const std::string& index, PendingSyncs& syncs);
  void collect_directories(int directory, PendingSyncs& syncs) const;
  FileDescriptor write_manifest(int directory) const;
  std::string manifest_path() const;
  void make_visible();
  // And gives the lock back.
  void remove_partial() noexcept;

  std::shared_ptr<Disk> disk_;
  JobDirectory directory_;
  std::optional<FileLock> lock_;
  std::function<std::vector<std::string>()> cpu_features_;
  Reference reference_;
  std::string partial_name_;
  std::string location_;
  std::chrono::steady_clock::time_point begun_;
  store::Manifest manifest_;
  pid_t owner_;
  std::vector<std::string> made_around_;
  bool committed_ = false;
  bool spent_ = false;
  bool is_first_record_ = false;  // of a sequence number of this job
};

}  // namespace crs
