#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/file_birth.h"
#include "base/io.h"
#include "engine/resources/descriptors/content_copy.h"
#include "engine/resources/descriptors/content_restore.h"
#include "engine/resources/descriptors/extended_attributes.h"
#include "engine/resources/descriptors/files/kept_files.h"
#include "engine/resources/descriptors/kind.h"

namespace crs::engine {
namespace {

constexpr std::string_view kAside = ".crs-aside-";
constexpr std::string_view kNew = ".crs-new-";
constexpr int kAttempts = 10000;

std::string folder_of(const std::string& path) { return std::filesystem::path(path).parent_path(); }

// PATH.crs-aside-N; of a long name as much as a file name takes.
std::string name_beside(const std::string& path, std::string_view suffix, int number) {
  constexpr std::size_t kLongestStart = 220;
  const std::string name = std::filesystem::path(path).filename();
  return fmt::format("{}/{}{}{}", folder_of(path) == "/" ? "" : folder_of(path), name.substr(0, kLongestStart), suffix,
                     number);
}

// Calls `make` with one name after the other until it is one that was free: `make` fails with EEXIST otherwise.
template <typename Make>
std::string make_beside(const std::string& path, std::string_view suffix, Make&& make) {
  for (int number = 1; number <= kAttempts; ++number) {
    std::string name = name_beside(path, suffix, number);
    if (make(name)) return name;
    if (errno != EEXIST) fail_errno(errno, "cannot make {}", name);
  }
  fail(ErrorKind::Failed, "{} holds too many files like {}", folder_of(path), name_beside(path, suffix, 1));
}

FileDescriptor create(const std::string& name) {
  return FileDescriptor(::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
}

void sync_file(const FileDescriptor& file, const std::string& name) {
  if (::fsync(file.get()) != 0) fail_errno(errno, "cannot sync {}", name);
}

void sync_folder(const std::string& path) {
  sync_file(open_file(folder_of(path), O_RDONLY | O_DIRECTORY), folder_of(path));
}

void set_time(const FileDescriptor& file, const image::ContentObject& object) {
  const std::array<timespec, 2> times{
      timespec{0, UTIME_OMIT}, timespec{object.modified_seconds(), static_cast<long>(object.modified_nanoseconds())}};
  static_cast<void>(::futimens(file.get(), times.data()));
}

bool is_mount_point(const std::string& path) {
  struct statx status{};
  return ::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &status) == 0 &&
         (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

void check_folder(const std::string& path) {
  const std::string folder = folder_of(path);
  struct stat status{};
  if (::stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    throw Error(ErrorKind::Failed, fmt::format("the directory of {} is missing", path))
        .advise(fmt::format("Make the directory {}", folder));
  }
  if (::faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    throw Error::from_errno(fmt::format("{} cannot be brought back: files cannot be made in {}", path, folder), errno)
        .advise("Make the directory writable, or put the file back by hand");
  }
}

// In a directory like /tmp only its owner gives a file another name (sticky(7)).
void check_may_be_renamed(const std::string& path, const struct stat& now) {
  struct stat folder{};
  if (::stat(folder_of(path).c_str(), &folder) != 0) fail_errno(errno, "cannot look at {}", folder_of(path));
  const uid_t user = ::geteuid();
  const bool forbidden = (folder.st_mode & S_ISVTX) != 0 && user != 0 && now.st_uid != user && folder.st_uid != user;
  if (!forbidden) return;
  throw Error(ErrorKind::Failed, fmt::format("{} is another user's file now, and cannot be kept aside", path))
      .advise("Remove it, or restart as its owner");
}

void check_may_be_made(const image::ContentObject& object, ChangedFiles changed) {
  const std::string& path = object.name();
  if (object.links() > 1 && changed != ChangedFiles::Accept) {
    throw Error(ErrorKind::Failed,
                fmt::format("{} had {} names (hard links) at the checkpoint and is another file or missing now: it "
                            "cannot be brought back under all of them",
                            path, object.links()))
        .advise(
            "If it still has the others, link one to this name (ln); or restart with --files accept, which brings it "
            "back under this one alone");
  }
  if (is_mount_point(path)) {
    throw Error(ErrorKind::Failed, fmt::format("{} is a mount point now, and cannot be replaced", path))
        .advise("Unmount it");
  }
  if (::geteuid() != 0 && object.owner() != ::geteuid()) {
    throw Error(ErrorKind::Failed,
                fmt::format("{} belonged to user {} at the checkpoint and is another file or missing now: only root "
                            "can make it again",
                            path, object.owner()))
        .advise("Restart as root, or put a file of that user there");
  }
}

}  // namespace

void note_written_since(std::vector<std::string>& notes, const std::string& path, std::uint64_t size) {
  std::string note = fmt::format(
      "{} has been written to since the checkpoint, perhaps inside its {} bytes of then: they stay as they are now",
      path, size);
  if (std::ranges::find(notes, note) == notes.end()) notes.push_back(std::move(note));
}

bool compares(const KeptFiles* kept, const std::string& path) { return kept == nullptr || kept->compares(path); }

std::string place_of(const KeptFiles* kept, const std::string& path) {
  return kept == nullptr ? path : kept->place_of(path);
}

KeptFiles::KeptFiles(const image::Descriptors& image, const ContentStore& content)
    : content_(content), ignored_(image.ignored_files().begin(), image.ignored_files().end()) {
  for (const image::ContentObject& object : image.kept_files()) {
    if (!by_path_.emplace(object.name(), files_.size()).second || ignored_.contains(object.name()))
      fail(ErrorKind::Damaged, "the snapshot has two files at one path");
    files_.push_back({.object = &object, .made = {}, .aside = {}});
  }
  for (const std::string& path : ignored_) checked_path(path);
}

KeptFiles::~KeptFiles() {
  for (const File& file : files_) {
    if (!file.made.empty()) ::unlink(file.made.c_str());
    if (!file.aside.empty()) ::unlink(file.aside.c_str());
  }
}

std::string KeptFiles::place_of(const std::string& path) const {
  const auto found = by_path_.find(path);
  const bool elsewhere = found != by_path_.end() && !files_[found->second].made.empty();
  return elsewhere ? files_[found->second].made : path;
}

FileDescriptor KeptFiles::content_of(const File& file) const {
  return file.object->content().empty() ? FileDescriptor() : content_.open(file.object->content());
}

void KeptFiles::check(ChangedFiles changed) {
  for (File& file : files_) {
    check_content_object(content_, *file.object, image::ContentObject::PATH);
    in_context("the snapshot has this file's content", [&] { choose_way(file, changed); });
  }
}

void KeptFiles::choose_way(File& file, ChangedFiles changed) const {
  const image::ContentObject& object = *file.object;
  const std::string& path = object.name();
  struct stat now{};
  file.was_missing = ::lstat(path.c_str(), &now) != 0;
  if (file.was_missing && errno != ENOENT && errno != ENOTDIR) fail_errno(errno, "cannot look at {}", path);
  file.way = Way::Replace;
  if (!file.was_missing) {
    if (!S_ISREG(now.st_mode)) {
      throw Error(ErrorKind::Failed, fmt::format("{} is no regular file any more", path))
          .advise("Give what stands there another name");
    }
    const FileDescriptor present(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK));
    if (!present) fail_errno(errno, "cannot read {}", path);
    if (holds_content(present.get(), content_of(file).get(), object, path)) {
      file.way = Way::LeaveAlone;
      return;
    }
    const bool same = is_same_file({.inode = object.inode(), .born = object.born()},
                                   {.inode = now.st_ino, .born = file_birth(present.get(), "", AT_EMPTY_PATH)});
    if (same) file.way = Way::WriteOver;
  }
  check_folder(path);
  if (file.way == Way::Replace) {
    check_may_be_made(object, changed);
    if (!file.was_missing) check_may_be_renamed(path, now);
  } else if (::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) {
    throw Error::from_errno(fmt::format("{} has changed since the checkpoint and cannot be written to", path), errno)
        .advise("Give yourself the right to write to it");
  }
}

void KeptFiles::stage(std::vector<std::string>& notes) {
  for (File& file : files_) {
    if (file.way == Way::Replace) make_new(file, notes);
    if (file.way == Way::Replace && file.object->links() > 1) {
      notes.push_back(fmt::format("{} had {} names (hard links) at the checkpoint, and has this one alone now",
                                  file.object->name(), file.object->links()));
    }
    if (file.way == Way::WriteOver) copy_aside(file);
  }
}

void KeptFiles::make_new(File& file, std::vector<std::string>& notes) const {
  const image::ContentObject& object = *file.object;
  FileDescriptor made;
  file.made = make_beside(object.name(), kNew, [&](const std::string& name) {
    made = create(name);
    return static_cast<bool>(made);
  });
  unpack_content(content_of(file).get(), made.get(), object, file.made);
  restore_extended_attributes(made.get(), AttributeStage::BeforeOwner, object, notes);
  if (::fchown(made.get(), object.owner(), object.group()) != 0)
    fail_errno(errno, "cannot give {} its owner, user {} and group {}", object.name(), object.owner(), object.group());
  if (::fchmod(made.get(), object.mode()) != 0) fail_errno(errno, "cannot give {} its mode", object.name());
  restore_extended_attributes(made.get(), AttributeStage::AfterMode, object, notes);
  set_time(made, object);
  sync_file(made, file.made);
}

void KeptFiles::copy_aside(File& file) const {
  const std::string& path = file.object->name();
  const FileDescriptor present = open_file(path, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
  FileDescriptor copy;
  file.aside = make_beside(path, kAside, [&](const std::string& name) {
    copy = create(name);
    return static_cast<bool>(copy);
  });
  copy_with_holes(present.get(), copy.get(), path);
  struct stat status{};
  if (::fstat(present.get(), &status) != 0) fail_errno(errno, "cannot look at {}", path);
  // As far as this user may: whoever may not give it away has it for itself.
  if (::fchown(copy.get(), status.st_uid, status.st_gid) == 0) ::fchmod(copy.get(), status.st_mode & 07777);
  const std::array<timespec, 2> times{status.st_atim, status.st_mtim};
  static_cast<void>(::futimens(copy.get(), times.data()));
  sync_file(copy, file.aside);
}

// Until the last step both are whole: a restart that is killed is made again.
void KeptFiles::commit(std::vector<std::string>& notes) {
  for (File& file : files_) {
    if (file.way == Way::Replace) replace(file, notes);
    if (file.way == Way::WriteOver) write_over(file, notes);
  }
}

// What stands there keeps its inode and gets another name; at no time is there no file at the path.
void KeptFiles::replace(File& file, std::vector<std::string>& notes) const {
  const std::string& path = file.object->name();
  std::string aside;
  if (::access(path.c_str(), F_OK) == 0) {
    aside = make_beside(path, kAside, [&](const std::string& name) {
      if (::link(path.c_str(), name.c_str()) == 0) return true;
      // Where hard links cannot be had, or are not for this user (fs.protected_hardlinks of proc(5)).
      return errno != EEXIST && ::renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, name.c_str(), RENAME_NOREPLACE) == 0;
    });
  }
  if (::rename(file.made.c_str(), path.c_str()) != 0)
    fail_errno(errno, "cannot rename {} to {}{}", file.made, path,
               aside.empty() ? "" : fmt::format("; what stood there is {} now", aside));
  file.made.clear();
  sync_folder(path);
  notes.push_back(aside.empty()
                      ? fmt::format("{} was missing and has its content of the checkpoint again", path)
                      : fmt::format("{} was another file and has its content of the checkpoint again; what stood there "
                                    "is {} now",
                                    path, aside));
}

void KeptFiles::write_over(File& file, std::vector<std::string>& notes) const {
  const image::ContentObject& object = *file.object;
  const std::string& path = object.name();
  sync_folder(path);
  const std::string aside = std::exchange(file.aside, {});  // stays, whatever happens now
  in_context(fmt::format("what {} held before the restart is in {}", path, aside), [&] {
    const FileDescriptor present = open_file(path, O_RDWR | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    write_over_content(content_of(file).get(), present.get(), object, path);
    set_time(present, object);
    sync_file(present, path);
  });
  notes.push_back(fmt::format("{} had been changed and has its content of the checkpoint again; what it held is in {}",
                              path, aside));
}

}  // namespace crs::engine
