#include "engine/tracee/mappings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

// proc_pid_maps(5): "start-end perms offset dev inode   name".
Mapping parse(const std::string& line) {
  Mapping mapping;
  char permissions[5] = {};
  int name_start = 0;
  const int fields = std::sscanf(line.c_str(), "%lx-%lx %4s %*x %*s %*u %n", &mapping.range.start.value,
                                 &mapping.range.end.value, permissions, &name_start);
  if (fields != 3) fail(ErrorKind::Failed, "a line of /proc/PID/maps is not understood: {}", line);
  mapping.readable = permissions[0] == 'r';
  mapping.writable = permissions[1] == 'w';
  mapping.executable = permissions[2] == 'x';
  mapping.shared = permissions[3] == 's';
  if (name_start > 0) mapping.name = line.substr(static_cast<std::size_t>(name_start));
  return mapping;
}

}  // namespace

std::vector<Mapping> read_mappings(pid_t pid) {
  std::istringstream lines(read_file(fmt::format("/proc/{}/maps", pid)));
  std::vector<Mapping> mappings;
  for (std::string line; std::getline(lines, line);) mappings.push_back(parse(line));
  return mappings;
}

std::optional<Mapping> find_mapping(const std::vector<Mapping>& mappings, std::string_view name) {
  const auto found = std::ranges::find(mappings, name, &Mapping::name);
  return found == mappings.end() ? std::nullopt : std::optional(*found);
}

std::optional<Mapping> find_mapping(const std::vector<Mapping>& mappings, RemoteAddress address) {
  const auto found = std::ranges::find_if(mappings, [&](const Mapping& mapping) { return mapping.range.contains(address); });
  return found == mappings.end() ? std::nullopt : std::optional(*found);
}

}  // namespace crs::engine
