#include "engine/tracee/control_group.h"

#include <fmt/format.h>

#include <array>
#include <sstream>
#include <string_view>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/text.h"

namespace crs::engine {
namespace {

// A line of /proc/PID/cgroup that contains `line_key` names the group; below `mount`, its `file` says `frozen`.
struct Freezer {
  std::string_view line_key;
  std::string_view mount;
  std::string_view file;
  std::string_view frozen;
};
constexpr std::array<Freezer, 3> kFreezers{{{"0::", "/sys/fs/cgroup", "cgroup.events", "frozen 1"},
                                            {"0::", "/sys/fs/cgroup/unified", "cgroup.events", "frozen 1"},
                                            {":freezer:", "/sys/fs/cgroup/freezer", "freezer.state", "FR"}}};

}  // namespace

std::string frozen_group_of(pid_t tid) {
  std::istringstream lines(text_or_nothing(fmt::format("/proc/{}/cgroup", tid)));
  for (std::string line; std::getline(lines, line);) {
    for (const Freezer& freezer : kFreezers) {
      if (line.find(freezer.line_key) == std::string::npos) continue;
      const std::string group = line.substr(line.find(':', line.find(':') + 1) + 1);
      const std::string state = text_or_nothing(fmt::format("{}{}/{}", freezer.mount, group, freezer.file));
      if (state.find(freezer.frozen) != std::string::npos) return group;
    }
  }
  return {};
}

}  // namespace crs::engine
