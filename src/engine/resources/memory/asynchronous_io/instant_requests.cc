#include "engine/resources/memory/asynchronous_io/instant_requests.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/descriptors/fdinfo.h"

namespace crs::engine {
namespace {

// Files of these file systems have no poll operation of their own, and are always ready (vfs_poll() in the kernel's
// include/linux/poll.h).
bool is_always_ready(const std::string& link) {
  constexpr std::array<std::uint64_t, 5> kFileSystems{EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC,
                                                      OVERLAYFS_SUPER_MAGIC};
  struct stat status{};
  struct statfs system{};
  if (::stat(link.c_str(), &status) != 0 || !S_ISREG(status.st_mode) || ::statfs(link.c_str(), &system) != 0)
    return false;
  return std::ranges::find(kFileSystems, static_cast<std::uint64_t>(system.f_type)) != kFileSystems.end();
}

// A descriptor of process `pid`, or -1.
int always_ready_descriptor(pid_t pid) {
  constexpr int kMostLookedAt = 100;
  std::error_code gone;
  std::filesystem::directory_iterator entry(fmt::format("/proc/{}/fd", pid), gone);
  for (int i = 0; i < kMostLookedAt && !gone && entry != std::filesystem::directory_iterator(); ++i) {
    const int number = std::atoi(entry->path().filename().c_str());
    if (is_always_ready(entry->path()) && (FdInfo::of(pid, number).number("flags", 8) & O_PATH) == 0) return number;
    entry.increment(gone);
  }
  return -1;
}

}  // namespace

InstantRequests::InstantRequests(RemoteCaller& remote, RemoteAddress context, std::uint64_t most)
    : remote_(remote),
      context_(context),
      most_(most),
      processors_(static_cast<std::size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_CONF)))) {
  const std::uint64_t size = bytes();
  place_ = {static_cast<std::uint64_t>(
      remote_.call("mmap", SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))};
  int descriptor = always_ready_descriptor(remote_.memory().pid());
  if (descriptor < 0) {  // an eventfd that is not zero can be read
    const std::int64_t made = remote_.raw_call(SYS_eventfd2, {1, EFD_CLOEXEC});
    if (made < 0) {
      remote_.raw_call(SYS_munmap, {place_.value, size});
      fail_errno(static_cast<int>(-made), "eventfd");
    }
    descriptor = own_descriptor_ = static_cast<int>(made);
  }
  iocb poll{};
  poll.aio_lio_opcode = IOCB_CMD_POLL;
  poll.aio_fildes = static_cast<std::uint32_t>(descriptor);
  poll.aio_buf = POLLIN;
  remote_.memory().write_value(request(), poll);
  const std::vector<std::uint64_t> pointers(most_, request().value);
  remote_.memory().write(list(), std::as_bytes(std::span(pointers)));
}

InstantRequests::~InstantRequests() {
  try {
    if (own_descriptor_ >= 0) remote_.raw_call(SYS_close, {static_cast<std::uint64_t>(own_descriptor_)});
    remote_.raw_call(SYS_munmap, {place_.value, bytes()});
  } catch (const Error&) {  // the process is gone, and they are with it
  }
}

RemoteCaller::StoringCall InstantRequests::making(std::uint64_t count) const {
  return {SYS_io_submit, {context_.value, count, list().value}};
}

void InstantRequests::make(std::uint64_t count) {
  std::uint64_t made = 0;
  while (made < count) {
    const std::int64_t result = remote_.call("io_submit", SYS_io_submit, context_, count - made, list());
    if (result <= 0) fail(ErrorKind::Failed, "io_submit has made nothing");
    made += static_cast<std::uint64_t>(result);
  }
}

// The kernel gives each processor a share of the room beforehand (struct kioctx_cpu in fs/aio.c).
std::vector<RemoteCaller::StoringCall> InstantRequests::making_everywhere() const {
  std::vector<RemoteCaller::StoringCall> calls;
  for (std::size_t number = 0; number < std::min(processors_, kMaskBytes * 8); ++number) {
    std::array<std::uint8_t, kMaskBytes> mask{};
    mask.at(number / 8) = static_cast<std::uint8_t>(1U << (number % 8));
    remote_.memory().write_value(one_processor(number), mask);
    calls.push_back(moving_to(one_processor(number)));
    calls.push_back(making(most_));
  }
  return calls;
}

RemoteCaller::StoringCall InstantRequests::moving_to(RemoteAddress mask) {
  return {SYS_sched_setaffinity, {0, kMaskBytes, mask.value}};
}

std::vector<io_event> InstantRequests::fill_and_empty(bool everywhere) {
  std::vector<RemoteCaller::StoringCall> calls{making(most_)};
  std::vector<RemoteCaller::StoringCall> endings;
  if (everywhere && remote_.raw_call(SYS_sched_getaffinity, {0, kMaskBytes, processors().value}) > 0) {
    calls = making_everywhere();
    endings.push_back(moving_to(processors()));
  }
  endings.push_back({SYS_io_getevents, {context_.value, 0, most_, answers().value, no_time().value}});
  const std::int64_t taken = remote_.call_to_the_end(calls, endings).back();
  if (taken < 0) fail_errno(static_cast<int>(-taken), "io_getevents");
  std::vector<io_event> events(std::min(static_cast<std::uint64_t>(taken), most_));
  remote_.memory().read(answers(), std::as_writable_bytes(std::span(events)));
  return events;
}

}  // namespace crs::engine
