#include "engine/resources/descriptors/files/set_aside.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/descriptors/content_copy.h"
#include "engine/resources/descriptors/files/identity.h"

namespace crs::engine {
namespace {

struct Grown {
  FileDescriptor file;
  std::string path;
  std::uint64_t kept;  // bytes: its length at the checkpoint
  std::uint64_t length;
  std::string place;  // where the tail is kept
};

// The files by path: several descriptions of one file are cut once. Without those that are brought back, or taken as
// they are.
std::map<std::string, const image::FileIdentity*> written_files(const image::Descriptors& image) {
  std::map<std::string, const image::FileIdentity*> files;
  std::set<std::string> others(image.ignored_files().begin(), image.ignored_files().end());
  for (const image::ContentObject& kept : image.kept_files()) others.insert(kept.name());
  for (const image::OpenDescription& description : image.descriptions()) {
    if (!description.has_regular_file() || (description.status_flags() & O_ACCMODE) == O_RDONLY) continue;
    const image::FileIdentity& file = description.regular_file().file();
    if (!file.generated() && !others.contains(file.path())) files.emplace(file.path(), &file);
  }
  return files;
}

FileDescriptor open_to_cut(const std::string& path) {
  try {
    return open_file(path, O_RDWR | O_NONBLOCK);
  } catch (Error& error) {
    if (error.error_number() == EACCES) error.advise("chmod u+rw it");
    if (error.error_number() == EPERM) error.advise("chattr -a it, so that it can be cut");
    throw error.add_context("it has grown since the checkpoint and must be cut back");
  }
}

std::vector<Grown> find_grown(const RestartOptions& options, const image::Descriptors& image) {
  std::vector<Grown> all;
  for (const auto& [path, file] : written_files(image)) {
    struct stat now{};
    if (::stat(path.c_str(), &now) != 0) fail_errno(errno, "cannot look at {}", path);
    compare_file(*file, now, true, options, nullptr);
    if (static_cast<std::uint64_t>(now.st_size) <= file->size()) continue;
    all.push_back({open_to_cut(path), path, file->size(), static_cast<std::uint64_t>(now.st_size), {}});
  }
  return all;
}

// "home-jane-run.log.from-4096": the path without its slashes, as much of it as a file name takes, and where the tail
// began.
std::string tail_name(const Grown& grown) {
  constexpr std::size_t kLongest = 200;
  std::string name = grown.path.substr(1);
  if (name.size() > kLongest) name.erase(0, name.size() - kLongest);
  std::ranges::replace(name, '/', '-');
  return fmt::format("{}.from-{}", name, grown.kept);
}

// Never writes over what an earlier restart has kept.
FileDescriptor create_unused(const std::string& folder, const std::string& name, std::string& place) {
  constexpr int kAttempts = 10000;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    place = attempt == 0 ? fmt::format("{}/{}", folder, name) : fmt::format("{}/{}.{}", folder, name, attempt);
    FileDescriptor file(::open(place.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file) return file;
    if (errno != EEXIST) fail_errno(errno, "cannot create {}", place);
  }
  fail(ErrorKind::Failed, "{} holds too many files called {}", folder, name);
}

void save_tail(const RestartOptions& options, Grown& grown) {
  const FileDescriptor tail = create_unused(options.set_aside_directory, tail_name(grown), grown.place);
  needing_room(grown.place, [&] {
    copy_range(grown.file.get(), grown.kept, tail.get(), 0, grown.length - grown.kept, {grown.path, grown.place});
  });
  if (::fsync(tail.get()) != 0) fail_errno(errno, "cannot sync {}", grown.place);
}

void sync_directory(const std::string& path) {
  const FileDescriptor directory = open_file(path, O_RDONLY | O_DIRECTORY);
  if (::fsync(directory.get()) != 0) fail_errno(errno, "cannot sync {}", path);
}

}  // namespace

void cut_grown_files(const RestartOptions& options, const image::Descriptors& image, std::vector<std::string>& notes) {
  std::vector<Grown> all = find_grown(options, image);
  if (all.empty()) return;
  if (options.set_aside_directory.empty()) {
    throw Error(ErrorKind::Failed,
                fmt::format("{} has grown since the checkpoint and must be cut back, but the store cannot "
                            "take what is cut off",
                            all.front().path))
        .advise("Make the store writable, or copy the snapshot into one that is");
  }
  in_context("keeping what is cut off files that have grown since the checkpoint", [&] {
    for (Grown& grown : all) save_tail(options, grown);
    sync_directory(options.set_aside_directory);
  });
  for (const Grown& grown : all) {
    if (::ftruncate(grown.file.get(), static_cast<off_t>(grown.kept)) != 0) {
      fail_errno(errno, "cannot cut {} back to its {} bytes at the checkpoint", grown.path, grown.kept);
    }
    notes.push_back(
        fmt::format("{} was cut back from {} bytes to its {} bytes at the checkpoint; what was cut is in {}",
                    grown.path, grown.length, grown.kept, grown.place));
  }
}

}  // namespace crs::engine
