#include "engine/tracee/remote_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

[[noreturn]] void fail_memory(const char* action, pid_t pid, RemoteAddress address, std::size_t bytes,
                              int error_number) {
  if (error_number == ESRCH) fail(ErrorKind::ProgramGone, "process {} ended meanwhile", pid);
  fail_errno(error_number, "cannot {} {} bytes at {:#x} of process {}", action, bytes, address.value, pid);
}

iovec vector_of(const void* start, std::size_t bytes) { return {const_cast<void*>(start), bytes}; }

iovec vector_of(RemoteAddress start, std::size_t bytes) {
  return {reinterpret_cast<void*>(start.value),
          bytes};  // NOLINT(performance-no-int-to-ptr): the kernel takes it as an address
}

}  // namespace

RemoteMemory::RemoteMemory(pid_t pid) : pid_(pid), mem_(open_file(fmt::format("/proc/{}/mem", pid), O_RDWR)) {}

std::size_t RemoteMemory::read_some(RemoteAddress address, std::span<std::byte> bytes) const {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const iovec local = vector_of(bytes.data() + done, bytes.size() - done);
    const iovec remote = vector_of(address + done, bytes.size() - done);
    const ssize_t got = ::process_vm_readv(pid_, &local, 1, &remote, 1, 0);
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

void RemoteMemory::read(RemoteAddress address, std::span<std::byte> bytes) const {
  errno = 0;
  const std::size_t got = read_some(address, bytes);
  if (got != bytes.size()) fail_memory("read", pid_, address + got, bytes.size() - got, errno);
}

void RemoteMemory::read_protected(RemoteAddress address, std::span<std::byte> bytes) const {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got =
        ::pread(mem_.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(address.value + done));
    if (got <= 0) fail_memory("read", pid_, address + done, bytes.size() - done, got < 0 ? errno : ESRCH);
    done += static_cast<std::size_t>(got);
  }
}

void RemoteMemory::write(RemoteAddress address, std::span<const std::byte> bytes) const {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const iovec local = vector_of(bytes.data() + done, bytes.size() - done);
    const iovec remote = vector_of(address + done, bytes.size() - done);
    const ssize_t put = ::process_vm_writev(pid_, &local, 1, &remote, 1, 0);
    if (put <= 0) fail_memory("write", pid_, address + done, bytes.size() - done, put < 0 ? errno : EFAULT);
    done += static_cast<std::size_t>(put);
  }
}

void RemoteMemory::write_protected(RemoteAddress address, std::span<const std::byte> bytes) const {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put =
        ::pwrite(mem_.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(address.value + done));
    if (put <= 0) fail_memory("write", pid_, address + done, bytes.size() - done, put < 0 ? errno : ESRCH);
    done += static_cast<std::size_t>(put);
  }
}

std::string RemoteMemory::read_string(RemoteAddress address, std::size_t limit) const {
  std::string text(limit, '\0');
  text.resize(read_some(address, std::as_writable_bytes(std::span(text.data(), text.size()))));
  const std::size_t end = text.find('\0');
  if (end == std::string::npos) {
    fail(ErrorKind::Failed, "no text ends within {} bytes of {:#x} in process {}", limit, address.value, pid_);
  }
  text.resize(end);
  return text;
}

}  // namespace crs::engine
