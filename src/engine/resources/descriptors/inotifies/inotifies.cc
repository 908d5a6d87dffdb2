#include "engine/resources/descriptors/inotifies/inotifies.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "engine/resources/descriptors/files/permissions.h"
#include "engine/resources/descriptors/inotifies/watched_path.h"

namespace crs::engine {
namespace {

constexpr std::uint32_t kKeptMask = IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT;
constexpr unsigned long kSetNextNumber = _IOW('I', 0, std::int32_t);  // INOTIFY_IOC_SETNEXTWD, since Linux 4.16
constexpr int kHighestCountedNumber = 20'000;

// "1 ino:20001 sdev:fe00001 mask:3ce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:01000200..."
std::string_view field_of(std::string_view line, std::string_view key) {
  for (const std::string_view word : words_of(line)) {
    if (word.starts_with(key)) return word.substr(key.size());
  }
  return {};
}

std::uint64_t number_in(std::string_view line, std::string_view key) {
  const auto number = parse_number(field_of(line, key), 16);
  if (!number) fail(ErrorKind::Failed, "cannot understand the inotify watch '{}'", line);
  return *number;
}

// The kernel's own form of a device number has 20 bits of minor number.
dev_t device_of(std::uint64_t number) {
  return makedev(static_cast<unsigned>(number >> 20U), static_cast<unsigned>(number & 0xfffffU));
}

// The next watch gets this number.
bool set_next_number(int inotify, int wanted, int& next) {
  if (next == wanted) return true;
  const std::int32_t number = wanted;
  if (::ioctl(inotify, kSetNextNumber, number) == 0) {
    next = wanted;
    return true;
  }
  for (; next < wanted && wanted <= kHighestCountedNumber; ++next) {
    const int passing = ::inotify_add_watch(inotify, "/", IN_DELETE_SELF);
    if (passing != next || ::inotify_rm_watch(inotify, passing) != 0) return false;
  }
  return next == wanted;
}

// Watches that were there in passing have said that they ended.
void drop_events(int inotify) {
  std::array<char, 4096> events{};
  while (::read(inotify, events.data(), events.size()) > 0) {
  }
}

// Watching takes reading (inotify_add_watch(2)).
void look_at_rights(TableCapture& table, const Seen& seen, const std::string& path) {
  if (may_be_accessed(path, R_OK, AT_SYMLINK_NOFOLLOW)) return;
  table.lack(seen,
             fmt::format("an inotify instance that watches {}, which its permissions do not let this user read, as "
                         "watching it again takes",
                         path),
             "chmod u+r it, if it is yours, or restart as root");
}

// False where it is refused.
bool capture_watch(TableCapture& table, const Seen& seen, std::string_view line, image::Inotify& inotify) {
  const std::string_view first = words_of(line).front();
  const auto number = parse_number(first, 16);
  WatchedInode watched;
  watched.inode = number_in(line, "ino:");
  watched.device = device_of(number_in(line, "sdev:"));
  watched.handle = field_of(line, "f_handle:");
  watched.handle_type = static_cast<int>(parse_number(field_of(line, "fhandle-type:"), 16).value_or(0));
  const std::optional<std::string> path = find_watched_path(table, watched);
  if (!number || !path) {
    table.refuse(seen, fmt::format("an inotify instance that watches inode {} of device {}:{}, whose path the "
                                   "kernel tells to root alone",
                                   watched.inode, major(watched.device), minor(watched.device)));
    return false;
  }
  look_at_rights(table, seen, *path);
  image::Inotify::Watch& kept = *inotify.add_watches();
  kept.set_number(static_cast<std::int32_t>(*number));
  kept.set_path(*path);
  kept.set_mask(static_cast<std::uint32_t>(number_in(line, "mask:")) & kKeptMask);
  kept.set_inode(watched.inode);
  kept.set_device(watched.device);
  return true;
}

}  // namespace

bool InotifyKind::recognises(const TableCapture& /*table*/, const Seen& seen) { return seen.is_anonymous("inotify"); }

void InotifyKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  image::Inotify& inotify = *description.mutable_inotify();
  int unread = 0;
  if (::ioctl(seen.copy.get(), FIONREAD, &unread) != 0 || unread > 0)
    return table.refuse(seen, "an inotify instance with events that have not been read and that only reading shows");
  for (const std::string_view line : seen.info.all("inotify wd")) {
    if (!capture_watch(table, seen, line, inotify)) return;
  }
  std::ranges::sort(*inotify.mutable_watches(), {}, &image::Inotify::Watch::number);
}

void InotifyKind::check(TableCheck& /*table*/, const Description& description) {
  int previous = 0;
  for (const image::Inotify::Watch& watch : description.inotify().watches()) {
    if (watch.number() <= previous || (watch.mask() & ~kKeptMask) != 0 || (watch.mask() & IN_ALL_EVENTS) == 0)
      fail(ErrorKind::Damaged, "the snapshot has an inotify watch that cannot be");
    previous = watch.number();
    struct stat status{};
    if (::lstat(checked_path(watch.path()).c_str(), &status) != 0)
      fail_errno(errno, "the program watches {} (inotify)", watch.path());
  }
}

FileDescriptor InotifyKind::open(TableRestore& table, const Description& description) {
  FileDescriptor opened(::inotify_init1(IN_NONBLOCK));
  if (!opened) fail_errno(errno, "cannot make an inotify instance");
  int next = 1;
  for (const image::Inotify::Watch& watch : description.inotify().watches()) {
    if (!set_next_number(opened.get(), watch.number(), next))
      fail(ErrorKind::Failed, "cannot give an inotify watch its number {}", watch.number());
    const int number = ::inotify_add_watch(opened.get(), watch.path().c_str(), watch.mask() | IN_DONT_FOLLOW);
    if (number < 0) fail_errno(errno, "cannot watch {} again", watch.path());
    if (number != watch.number())
      fail(ErrorKind::Failed, "the watch of {} has number {} instead of {}", watch.path(), number, watch.number());
    next = number + 1;
    struct stat status{};
    if (::lstat(watch.path().c_str(), &status) == 0 && status.st_ino != watch.inode())
      table.context.notes.push_back(fmt::format("{}, which the program watches, is another file now", watch.path()));
  }
  drop_events(opened.get());
  return opened;
}

}  // namespace crs::engine
