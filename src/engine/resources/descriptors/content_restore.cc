#include "engine/resources/descriptors/content_restore.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <map>

#include "base/error.h"
#include "engine/resources/descriptors/content_copy.h"
#include "engine/resources/descriptors/extended_attributes.h"
#include "engine/resources/descriptors/huge_files.h"
#include "engine/resources/memory/huge_pages.h"

namespace crs::engine {
namespace {

constexpr unsigned kMakeExecutable = 0x0010U;              // MFD_EXEC, since Linux 6.3
constexpr std::uint32_t kSetLater = O_DIRECT | O_NOATIME;  // what not every file system takes from open(2)
constexpr std::size_t kLongestMemfdName = 249;             // memfd_create(2)

// Of each unlinked file that was made without a name (O_TMPFILE, open(2)), the flags of the description that made it:
// it alone has that flag, and no later one can have it.
std::map<std::uint32_t, std::uint32_t> flags_of_makers(const image::Descriptors& image) {
  std::map<std::uint32_t, std::uint32_t> flags;
  for (const image::OpenDescription& one : image.descriptions()) {
    if (one.has_content_file() && made_its_file(one)) flags.emplace(one.content_file().object(), one.status_flags());
  }
  return flags;
}

// Whether the program's executable and its mapped code may lie there (mount(2), MS_NOEXEC).
bool allows_execution(const FileDescriptor& file) {
  struct statvfs file_system{};
  return ::fstatvfs(file.get(), &file_system) == 0 && (file_system.f_flag & ST_NOEXEC) == 0;
}

// An unlinked file, on the file system where it was if that still exists, else where temporary files go.
FileDescriptor make_unlinked(const image::ContentObject& object, std::uint32_t flags, std::vector<std::string>& notes) {
  const std::string folder = std::filesystem::path(object.name()).parent_path();
  flags &= ~static_cast<std::uint32_t>(O_EXCL | O_CREAT | O_TRUNC | kSetLater);
  if (object.huge_page_bytes() != 0) return make_huge_unlinked(object, flags, notes);
  flags |= O_TMPFILE | O_CLOEXEC;
  for (const std::string& place : std::array<std::string, 3>{folder, "/var/tmp", "/tmp"}) {
    FileDescriptor made(::open(place.c_str(), static_cast<int>(flags), 0600));
    if (made && (!object.executed() || allows_execution(made))) return made;
  }
  if (object.executed()) return make_memory_file("executable");
  fail_errno(errno, "cannot make an unlinked file like {}, neither in its directory nor in /var/tmp or /tmp",
             object.name());
}

// A directory that was removed. Under its own name for a moment, if that is free, so that /proc shows it as before.
FileDescriptor make_directory(const image::ContentObject& object) {
  const std::string folder = std::filesystem::path(object.name()).parent_path();
  for (const std::string& place : std::array<std::string, 3>{folder, "/var/tmp", "/tmp"}) {
    std::string path = object.name();
    if (place != folder || ::mkdir(path.c_str(), 0700) != 0) {
      path = place + "/.crs-XXXXXX";
      if (::mkdtemp(path.data()) == nullptr) continue;
    }
    FileDescriptor made(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    const int problem = made ? 0 : errno;
    if (const bool is_gone = ::rmdir(path.c_str()) == 0; is_gone && made) return made;
    fail_errno(problem != 0 ? problem : errno, "cannot open and remove the directory {} that was just made", path);
  }
  fail_errno(errno, "cannot make a directory like the removed {}, neither in its place nor in /var/tmp or /tmp",
             object.name());
}

void set_mode_of(int descriptor, const image::ContentObject& object, std::uint32_t mode) {
  if (::fchmod(descriptor, mode) != 0) fail_errno(errno, "cannot give the unlinked file {} its mode", object.name());
}

// What its owner may still do: the program's memory is to map it, or the program is to enter or execute it.
std::uint32_t mode_needed(const image::ContentObject& object) {
  constexpr std::uint32_t kSealExecute = 0x20;  // F_SEAL_EXEC of linux/fcntl.h, Linux 6.3
  // That seal forbids to take the right to execute away again.
  const bool is_executed = object.executed() && (object.seals() & kSealExecute) == 0;
  const bool is_used_so = is_executed || object.origin() == image::ContentObject::DIRECTORY;
  return is_used_so ? S_IRUSR | S_IXUSR : S_IRUSR;
}

// Nobody may have the file of a running program open for writing (ETXTBSY, open(2)), so what only a writer can do is
// done now.
FileDescriptor without_writer(const FileDescriptor& made, const image::ContentObject& object) {
  FileDescriptor reader = reopen(made.get(), O_RDONLY | O_CLOEXEC);
  set_mode_of(made.get(), object, object.mode() | mode_needed(object));
  if (object.seals() != 0 && ::fcntl(made.get(), F_ADD_SEALS, object.seals()) != 0)
    fail_errno(errno, "cannot seal the memory file '{}'", object.name());
  return reader;
}

void check_extents(const image::ContentObject& object) {
  std::uint64_t end = 0;
  for (const image::ContentObject::Extent& extent : object.data()) {
    const bool possible = extent.bytes() > 0 && extent.offset() >= end && extent.offset() <= object.size() &&
                          extent.bytes() <= object.size() - extent.offset();
    if (!possible) fail(ErrorKind::Damaged, "the snapshot has an unlinked or kept file with data outside of it");
    end = extent.offset() + extent.bytes();
  }
}

// The stored bytes must be exactly those that the extents name.
void check_stored_size(const ContentStore& content, const image::ContentObject& object) {
  std::uint64_t expected = 0;
  for (const image::ContentObject::Extent& extent : object.data()) expected += extent.bytes();
  std::uint64_t stored = 0;
  if (!object.content().empty()) {
    const FileDescriptor file = content.open(object.content());
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) fail_errno(errno, "cannot look at {}", object.content());
    stored = static_cast<std::uint64_t>(status.st_size);
  }
  if (stored != expected)
    fail(ErrorKind::Damaged, "{} holds {} bytes, not {}", object.content().empty() ? "the snapshot" : object.content(),
         stored, expected);
}

void check_name(const image::ContentObject& object) {
  const auto origin = object.origin();
  const bool is_directory = origin == image::ContentObject::DIRECTORY;
  if (is_directory && (object.size() > 0 || object.data_size() > 0 || object.executed()))
    fail(ErrorKind::Damaged, "the snapshot has a removed directory that cannot be");
  if (is_directory || origin == image::ContentObject::UNLINKED || origin == image::ContentObject::PATH) {
    checked_path(object.name());
  } else if (origin != image::ContentObject::MEMFD || object.name().size() > kLongestMemfdName ||
             object.name().find('\0') != std::string::npos) {
    fail(ErrorKind::Damaged, "the snapshot has content of a kind that cannot be");
  }
}

// seal_content_objects() takes away what is not the program's.
void set_mode(int descriptor, std::uint32_t present, const image::ContentObject& object) {
  if (present != object.mode()) set_mode_of(descriptor, object, object.mode());
  const std::uint32_t needed = mode_needed(object);
  const std::string place = fmt::format("/proc/self/fd/{}", descriptor);
  if (::faccessat(AT_FDCWD, place.c_str(), (needed & S_IXUSR) != 0 ? R_OK | X_OK : R_OK, AT_EACCESS) != 0)
    set_mode_of(descriptor, object, object.mode() | needed);
}

// What set_mode() left.
void finish_mode(RestoreContext& context, int number, const image::ContentObject& object) {
  const std::uint32_t needed = mode_needed(object);
  if ((object.mode() & needed) == needed) return;
  const std::string place = fmt::format("/proc/{}/fd/{}", context.pid, number);
  struct stat status{};
  if (::stat(place.c_str(), &status) != 0) fail_errno(errno, "cannot look at an unlinked file");
  // The process itself may have given up the right to it.
  const bool is_so = (status.st_mode & 07777) == object.mode() || ::chmod(place.c_str(), object.mode()) == 0;
  if (!is_so) context.remote.call("fchmod", SYS_fchmod, number, object.mode());
}

// As utimensat(2) takes them.
std::array<timespec, 2> times_of(const image::ContentObject& object) {
  return {timespec{0, UTIME_OMIT},
          timespec{object.modified_seconds(), static_cast<long>(object.modified_nanoseconds())}};
}

// Whoever maps more of a file of hugetlbfs than there is of it makes it longer (hugetlbfs_file_mmap() in the kernel's
// fs/hugetlbfs/inode.c); the program had cut it back.
void undo_growth(RestoreContext& context, int number, const image::ContentObject& object) {
  if (object.huge_page_bytes() == 0) return;
  const std::string place = fmt::format("/proc/{}/fd/{}", context.pid, number);
  struct stat status{};
  if (::stat(place.c_str(), &status) != 0) fail_errno(errno, "cannot look at {}", object.name());
  if (static_cast<std::uint64_t>(status.st_size) == object.size()) return;
  context.remote.call("ftruncate", SYS_ftruncate, number, object.size());
  const std::array<timespec, 2> times = times_of(object);
  static_cast<void>(::utimensat(AT_FDCWD, place.c_str(), times.data(), 0));
}

void keep_at(int number, const FileDescriptor& made) {
  if (::dup3(made.get(), number, O_CLOEXEC) < 0)
    fail_errno(errno, "cannot keep an unlinked file at descriptor {}", number);
}

void finish(int descriptor, const image::ContentObject& object, std::vector<std::string>& notes) {
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) fail_errno(errno, "cannot look at an unlinked file");
  restore_extended_attributes(descriptor, AttributeStage::BeforeOwner, object, notes);
  if ((status.st_uid != object.owner() || status.st_gid != object.group()) &&
      ::fchown(descriptor, object.owner(), object.group()) != 0) {
    notes.push_back(fmt::format("the unlinked file {} belongs to the restarting user now, not to user {} and group {}",
                                object.name(), object.owner(), object.group()));
  }
  set_mode(descriptor, status.st_mode & 07777, object);
  restore_extended_attributes(descriptor, AttributeStage::AfterMode, object, notes);
  const std::array<timespec, 2> times = times_of(object);
  static_cast<void>(::futimens(descriptor, times.data()));
}

}  // namespace

FileDescriptor make_memory_file(std::string_view name, std::uint64_t huge_page_bytes) {
  const std::string own(name.substr(0, kLongestMemfdName));
  const auto size = static_cast<unsigned>(huge_page_size_flags(huge_page_bytes));
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge_page_bytes != 0 ? MFD_HUGETLB : 0U) | size;
  FileDescriptor made(::memfd_create(own.c_str(), flags | kMakeExecutable));
  if (!made && errno == EINVAL) made = FileDescriptor(::memfd_create(own.c_str(), flags));
  // Where the administrator forbids executable ones (vm.memfd_noexec).
  if (!made && errno == EACCES) made = FileDescriptor(::memfd_create(own.c_str(), flags | 0x0008U));
  if (made) return made;
  if (huge_page_bytes == 0) fail_errno(errno, "cannot make memory file '{}'", own);
  fail_errno(errno, "cannot make memory file '{}' of huge pages of {} KiB", own, huge_page_bytes / 1024);
}

void check_content_object(const ContentStore& content, const image::ContentObject& object,
                          image::ContentObject::Origin origin) {
  constexpr std::uint32_t kKnownSeals = 0x3f;  // fcntl(2), up to F_SEAL_EXEC
  constexpr std::uint32_t kNanosecondsPerSecond = 1'000'000'000;
  check_name(object);
  const bool is_at_path = object.origin() == image::ContentObject::PATH;
  const bool possible = object.size() <= static_cast<std::uint64_t>(std::numeric_limits<off_t>::max()) &&
                        (object.mode() & ~07777U) == 0 && (object.seals() & ~kKnownSeals) == 0 &&
                        object.modified_nanoseconds() < kNanosecondsPerSecond &&
                        is_at_path == (origin == image::ContentObject::PATH);
  if (!possible)
    fail(ErrorKind::Damaged, "the snapshot has {} that cannot be", is_at_path ? "a kept file" : "an unlinked file");
  check_huge_file(object);
  check_extents(object);
  check_extended_attributes(object);
  check_stored_size(content, object);
}

void check_object(const TableCheck& table, std::uint32_t object, image::ContentObject::Origin origin) {
  const auto is_directory = [](image::ContentObject::Origin one) { return one == image::ContentObject::DIRECTORY; };
  const bool is_there = object < static_cast<std::uint32_t>(table.image.objects_size());
  if (!is_there || is_directory(table.image.objects(static_cast<int>(object)).origin()) != is_directory(origin))
    fail(ErrorKind::Damaged, "a description refers to an unlinked file or directory that the snapshot does not have");
}

bool made_its_file(const image::OpenDescription& description) {
  const std::uint32_t flags = description.status_flags();
  constexpr std::uint32_t kTemporary = O_TMPFILE & ~O_DIRECTORY;
  return (flags & kTemporary) != 0 && (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_RDONLY;
}

void check_content_objects(const TableCheck& table) {
  for (const image::ContentObject& object : table.image.objects())
    check_content_object(table.context.content, object, image::ContentObject::UNKNOWN);
}

void make_content_objects(TableRestore& table) {
  const std::map<std::uint32_t, std::uint32_t> makers = flags_of_makers(table.image);
  for (int i = 0; i < table.image.objects_size(); ++i) {
    const image::ContentObject& object = table.image.objects(i);
    const auto index = static_cast<std::uint32_t>(i);
    const auto maker = makers.find(index);
    FileDescriptor made;
    if (object.origin() == image::ContentObject::MEMFD) {
      made = make_memory_file(object.name(), object.huge_page_bytes());
    } else if (object.origin() == image::ContentObject::DIRECTORY) {
      made = make_directory(object);
    } else if (maker == makers.end()) {
      made = make_unlinked(object, O_RDWR, table.context.notes);
    } else {
      FileDescriptor first = table.aside(make_unlinked(object, maker->second, table.context.notes));
      made = reopen(first.get(), O_RDWR | O_CLOEXEC);
      table.makers[index] = std::move(first);
    }
    if (object.origin() == image::ContentObject::DIRECTORY) {
      keep_at(table.object(index), made);
      continue;
    }
    const FileDescriptor content =
        object.content().empty() ? FileDescriptor() : table.context.content.open(object.content());
    const auto unpack = object.huge_page_bytes() != 0 ? unpack_huge_content : unpack_content;
    unpack(content.get(), made.get(), object, object.name());
    if (object.executed()) made = without_writer(made, object);
    keep_at(table.object(index), made);
  }
}

void finish_content_objects(NewbornContext& context, const image::Descriptors& image) {
  for (int index = 0; index < image.objects_size(); ++index) {
    finish(content_object_descriptor(context.first_private_descriptor, static_cast<std::uint32_t>(index)),
           image.objects(index), context.notes);
  }
}

void seal_content_objects(std::span<RestoreContext* const> processes, const image::Descriptors& image) {
  if (image.objects_size() == 0) return;
  RestoreContext& context = *processes.front();
  for (int index = 0; index < image.objects_size(); ++index) {
    const std::uint32_t seals = image.objects(index).seals();
    const int number = content_object_descriptor(context.first_private_descriptor, static_cast<std::uint32_t>(index));
    finish_mode(context, number, image.objects(index));
    undo_growth(context, number, image.objects(index));
    if (seals != 0 && !image.objects(index).executed())
      context.remote.call("fcntl(F_ADD_SEALS)", SYS_fcntl, number, F_ADD_SEALS, seals);
  }
  const int first = content_object_descriptor(context.first_private_descriptor, 0);
  for (RestoreContext* const process : processes) {
    if (process != nullptr)
      process->remote.call("close_range", SYS_close_range, first, first + image.objects_size() - 1, 0);
  }
}

}  // namespace crs::engine
