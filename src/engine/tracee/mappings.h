// The lines of /proc/PID/maps, as far as driving a stopped thread needs them (the memory room reads them with everything else).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tracee/remote_address.h"

namespace crs::engine {

struct Mapping {
  RemoteRange range;
  bool readable = false;
  bool writable = false;
  bool executable = false;
  bool shared = false;
  std::string name;  // path, "[stack]", "[vdso]", ... or empty
};

std::vector<Mapping> read_mappings(pid_t pid);
std::optional<Mapping> find_mapping(const std::vector<Mapping>& mappings, std::string_view name);
std::optional<Mapping> find_mapping(const std::vector<Mapping>& mappings, RemoteAddress address);

}  // namespace crs::engine
