// The seam between the store and the disk: what makes a snapshot durable and visible goes through it, so that a test
// can lose writes, fill the disk or stop at any step.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"
#include "crs/error.hpp"

namespace crs {

// The real disk. Stateless; a test derives from it. Paths are for messages.
class Disk {
 public:
  Disk() = default;
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  virtual ~Disk() = default;

  // fsync(2) of a file or directory.
  virtual void sync(int descriptor, const std::string& path);
  struct Unsynced {
    int descriptor = -1;
    std::string path;
  };
  // sync() of each, at the same time and in no order: what a disk has to do for one it does for all.
  virtual void sync_all(std::span<const Unsynced> files);
  virtual void write(int descriptor, const std::string& path, std::string_view bytes);
  // Within `directory`. rename_new() fails with EEXIST if `to` exists; rename_over() replaces it.
  virtual void rename_new(int directory, const std::string& from, const std::string& to, const std::string& path);
  virtual void rename_over(int directory, const std::string& from, const std::string& to, const std::string& path);
};

// What can be done where a file could not grow, if that is the error.
void advise_about_space(Error& error);

// The Error for a failed write to the store, with the advice that fits: where a disk is full, over quota or read-only.
Error disk_error(std::string_view what, int error_number);

enum class Durability {
  Durable,     // it is on disk when the call returns
  UntilReboot  // what is of no use after a crash of the machine need not wait for the disk
};

// Files and directories that are to be on disk before something else is done.
class PendingSyncs {
 public:
  explicit PendingSyncs(Disk& disk) : disk_(disk) {}
  void add(FileDescriptor file, std::string path);
  // Waits for all that were added.
  void finish();

 private:
  static constexpr std::size_t kMost = 16;  // that are open, and waited for, at a time

  Disk& disk_;
  std::vector<FileDescriptor> files_;
  std::vector<Disk::Unsynced> unsynced_;
};

// The next version of the file `name`, mode 0600, as "NAME.new" beside it until put() or the end of this. One at a time
// for a name. `disk` must outlive it.
class Replacement {
 public:
  Replacement(Disk& disk, int directory, std::string name, std::string_view content, std::string path);
  ~Replacement();
  Replacement(const Replacement&) = delete;
  Replacement& operator=(const Replacement&) = delete;

  Disk::Unsynced unsynced() const { return {file_.get(), path_ + "/" + fresh()}; }
  // In its place in one step. Durable if it was synced before and the directory is synced afterwards.
  void put();

 private:
  std::string fresh() const { return name_ + ".new"; }

  Disk& disk_;
  int directory_;
  std::string name_;
  std::string path_;
  FileDescriptor file_;
  bool is_put_ = false;
};

// Puts `content` in place of the file `name`, mode 0600, in one step. One caller at a time for a name: a file
// "NAME.new" lies beside it meanwhile.
void replace_file(Disk& disk, int directory, const std::string& name, std::string_view content, const std::string& path,
                  Durability durability = Durability::Durable);

}  // namespace crs
