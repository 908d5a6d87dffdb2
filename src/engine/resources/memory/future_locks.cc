#include "engine/resources/memory/future_locks.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>
#include <charconv>
#include <string>

#include "base/io.h"

namespace crs::engine {
namespace {

// VmLck of proc_pid_status(5), in KiB.
std::uint64_t locked_memory(pid_t pid) {
  constexpr std::string_view kKey = "VmLck:";
  const std::string status = read_file(fmt::format("/proc/{}/status", pid));
  std::size_t start = status.find(kKey);
  if (start == std::string::npos) return 0;
  start = status.find_first_not_of(" \t", start + kKey.size());
  std::uint64_t value = 0;
  std::from_chars(status.data() + start, status.data() + status.size(), value);
  return value;
}

}  // namespace

std::uint32_t future_locks(pid_t pid, RemoteCaller& remote) {
  const std::uint64_t before = locked_memory(pid);
  const std::int64_t page = remote.raw_call(
      SYS_mmap, {0, kPageSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, static_cast<std::uint64_t>(-1), 0});
  // The limit of locked memory is reached, which concerns only memory that is to be locked.
  if (page == -EAGAIN) return MCL_FUTURE;
  if (page < 0) return 0;
  std::uint32_t locks = 0;
  if (locked_memory(pid) > before) {
    locks = MCL_FUTURE;
    // Memory that is locked at once is there at once.
    const std::int64_t result =
        remote.raw_call(SYS_mincore, {static_cast<std::uint64_t>(page), kPageSize, remote.scratch().value, 0, 0, 0});
    if (result == 0 && (remote.get<std::uint8_t>() & 1) == 0) locks |= MCL_ONFAULT;
  }
  remote.call("munmap", SYS_munmap, page, kPageSize);
  return locks;
}

int restore_future_locks(RemoteCaller& remote, std::uint32_t locks) {
  return static_cast<int>(-remote.raw_call(SYS_mlockall, {locks, 0, 0, 0, 0, 0}));
}

}  // namespace crs::engine
