// Reading and writing the memory of another process. Safe from several threads at once: it holds no state but the
// process id and one descriptor.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/tracee/remote_address.h"

namespace crs::engine {

class RemoteMemory {
 public:
  // Opens /proc/PID/mem; `pid` as the caller sees it. Needs ptrace access. Throws.
  explicit RemoteMemory(pid_t pid);

  pid_t pid() const noexcept { return pid_; }

  // process_vm_readv(2). Throws an Error that names the address if not every byte could be read.
  void read(RemoteAddress address, std::span<std::byte> bytes) const;
  // As read(), but says how many leading bytes could be read instead of throwing.
  std::size_t read_some(RemoteAddress address, std::span<std::byte> bytes) const;
  // Through /proc/PID/mem: also where the program itself may not read (PROT_NONE, write-only). Slower.
  void read_protected(RemoteAddress address, std::span<std::byte> bytes) const;
  // process_vm_writev(2).
  void write(RemoteAddress address, std::span<const std::byte> bytes) const;
  // Through /proc/PID/mem: also where the program itself may not write (private mappings only).
  void write_protected(RemoteAddress address, std::span<const std::byte> bytes) const;
  // A NUL-terminated string of at most `limit` bytes.
  std::string read_string(RemoteAddress address, std::size_t limit) const;

  template <typename T>
  T read_value(RemoteAddress address) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    read(address, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  void write_value(RemoteAddress address, const T& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    write(address, std::as_bytes(std::span(&value, 1)));
  }

 private:
  pid_t pid_;
  FileDescriptor mem_;
};

}  // namespace crs::engine
