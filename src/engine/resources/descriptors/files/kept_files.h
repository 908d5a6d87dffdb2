// Regular files whose content the user wants in the snapshot, or of which it takes whatever there is (file_rules.h).
//
// Checkpoint: keep_files() copies the content while the program stands still.
//
// Restart: in the restart command, check() and stage() before there is a process; the newborns open each file where
// place_of() says; commit(), last of all, puts the content in place. A file that is still the same one (its inode) is
// written over, since programs recognise their files by their inodes and other names may lead to it; what it held is
// copied aside before. Where another file or none stands, a new one is made beside it and renamed into place, and the
// other one gets another name. What is equal is left alone.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/context.h"
#include "engine/resources/descriptors/descriptors.pb.h"
#include "engine/resources/memory/memory.pb.h"

namespace crs::engine {

// When the descriptors and the address spaces of all processes have been captured. Adds to context.refusals where a
// file cannot be read.
void keep_files(CaptureContext& context, std::span<const image::Memory* const> memories, image::Descriptors& image);

class KeptFiles {
 public:
  // Both must outlive this.
  KeptFiles(const image::Descriptors& image, const ContentStore& content);
  // What has been made and not been put in place is removed.
  ~KeptFiles();
  KeptFiles(const KeptFiles&) = delete;
  KeptFiles& operator=(const KeptFiles&) = delete;

  // Throws Damaged for files that cannot be, Failed where one cannot be brought back here. Changes nothing.
  // With ChangedFiles::Accept a file that had several names comes back under each as one of its own.
  void check(ChangedFiles changed);
  // Makes what will be put in place, and the copies of what will be written over, and syncs both. Adds notes.
  void stage(std::vector<std::string>& notes);
  // Puts all in place. Adds a note for each file that was not as it is now.
  void commit(std::vector<std::string>& notes);

  bool keeps(const std::string& path) const { return by_path_.contains(path); }
  // Whether what stands at that path is to be as it was at the checkpoint without help.
  bool compares(const std::string& path) const { return !keeps(path) && !ignored_.contains(path); }
  // Where that file is to be opened until commit().
  std::string place_of(const std::string& path) const;

 private:
  enum class Way { Unknown, LeaveAlone, WriteOver, Replace };
  struct File {
    const image::ContentObject* object = nullptr;
    Way way = Way::Unknown;
    bool was_missing = false;
    std::string made;   // beside it, to be renamed
    std::string aside;  // the copy of what is written over
  };

  void choose_way(File& file, ChangedFiles changed) const;
  void make_new(File& file, std::vector<std::string>& notes) const;
  void copy_aside(File& file) const;
  void replace(File& file, std::vector<std::string>& notes) const;
  void write_over(File& file, std::vector<std::string>& notes) const;
  FileDescriptor content_of(const File& file) const;

  const ContentStore& content_;
  std::vector<File> files_;
  std::map<std::string, std::size_t> by_path_;
  std::set<std::string> ignored_;
};

// The same where there may be none (null).
bool compares(const KeptFiles* kept, const std::string& path);

// Notes, once, that the file may have been written over inside its `size` bytes.
void note_written_since(std::vector<std::string>& notes, const std::string& path, std::uint64_t size);
std::string place_of(const KeptFiles* kept, const std::string& path);

}  // namespace crs::engine
