// /proc/PID/fdinfo/N (proc_pid_fdinfo(5)), taken apart.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/procfs/text.h"

namespace crs::engine {

class FdInfo {
 public:
  FdInfo() = default;
  explicit FdInfo(std::string_view text);
  // Reads it. Throws.
  static FdInfo of(pid_t pid, int number);

  // The first line "KEY: VALUE"; surrounding blanks are not part of the value.
  std::optional<std::string_view> find(std::string_view key) const;
  // The values of all lines with this key, in order.
  std::vector<std::string_view> all(std::string_view key) const;
  // A number that must be there: throws an Error that names the key otherwise.
  std::uint64_t number(std::string_view key, int base = 10) const;
  // The offset. Of /proc/PID/mem it may be that of a kernel address, which the kernel shows as a negative number.
  std::uint64_t position() const;

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

}  // namespace crs::engine
