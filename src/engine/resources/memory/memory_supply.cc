#include "engine/resources/memory/memory_supply.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};
// For the vDSO, the stack's neighbours and the remote caller's own.
constexpr std::uint64_t kSpareAreas = 16;

std::uint64_t number_or(std::string_view text, std::uint64_t otherwise) {
  std::uint64_t value = 0;
  return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc{} ? value : otherwise;
}

// The number in a file, or `otherwise` for a file that is not there or says something else ("max").
std::uint64_t number_in(const std::string& path, std::uint64_t otherwise) {
  try {
    return number_or(read_file(path), otherwise);
  } catch (const Error&) {
    return otherwise;
  }
}

// One way in which control groups limit memory (cgroups(7)): a line of /proc/self/cgroup that contains `line_key` names
// the caller's group, which is a folder below `root` with the limit in `file`.
struct ControlGroups {
  std::string_view line_key;
  std::string_view root;
  std::string_view file;
};
constexpr std::array<ControlGroups, 3> kControlGroups{{{"0::", "/sys/fs/cgroup", "memory.max"},
                                                       {"0::", "/sys/fs/cgroup/unified", "memory.max"},
                                                       {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"}}};

// The least limit of the group and of those above it. A container may see its group at the root.
std::uint64_t limit_of(const ControlGroups& groups, std::string_view own) {
  const std::size_t start = own.find(groups.line_key);
  if (start == std::string_view::npos) return kNoLimit;
  own.remove_prefix(start + groups.line_key.size());
  std::string group(own.substr(0, own.find('\n')));
  std::uint64_t limit = kNoLimit;
  while (true) {
    limit = std::min(limit, number_in(fmt::format("{}{}/{}", groups.root, group, groups.file), kNoLimit));
    const std::size_t slash = group.rfind('/');
    if (slash == std::string::npos) return limit;
    group.resize(slash);
  }
}

std::uint64_t control_group_limit() {
  std::string own;
  try {
    own = read_file("/proc/self/cgroup");
  } catch (const Error&) {
    return kNoLimit;
  }
  std::uint64_t limit = kNoLimit;
  for (const ControlGroups& groups : kControlGroups) limit = std::min(limit, limit_of(groups, own));
  return limit;
}

std::uint64_t kibibytes(std::string_view meminfo, std::string_view key) {
  const std::size_t start = meminfo.find(key);
  if (start == std::string_view::npos) return 0;
  meminfo.remove_prefix(start + key.size());
  meminfo.remove_prefix(std::min(meminfo.find_first_not_of(' '), meminfo.size()));
  return number_or(meminfo, 0) * 1024;
}

void require(std::uint64_t wanted, std::uint64_t had, std::string_view what, std::string_view advice) {
  if (wanted <= had) return;
  throw Error(ErrorKind::Failed,
              fmt::format("no space for the restarted program's memory: {} are needed, {} {}", wanted, had, what))
      .advise(std::string(advice));
}

}  // namespace

void parse_meminfo(std::string_view text, int overcommit, MemorySupply& supply) {
  supply.available = kibibytes(text, "MemAvailable:") + kibibytes(text, "SwapFree:");
  if (overcommit != 2) return;
  const std::uint64_t limit = kibibytes(text, "CommitLimit:");
  supply.commit_room = limit - std::min(limit, kibibytes(text, "Committed_AS:"));
}

std::uint64_t areas_needed_for(std::uint64_t areas) { return areas + kSpareAreas; }

std::uint64_t area_limit() { return number_in("/proc/sys/vm/max_map_count", kNoLimit); }

MemorySupply memory_supply() {
  MemorySupply supply;
  parse_meminfo(read_file("/proc/meminfo"), static_cast<int>(number_in("/proc/sys/vm/overcommit_memory", 0)), supply);
  supply.group_limit = control_group_limit();
  supply.areas = area_limit();
  // The newborn raises its soft limits to the hard ones while it is built.
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_max != RLIM_INFINITY) supply.address_space = limit.rlim_max;
  if (::getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_max != RLIM_INFINITY) supply.data = limit.rlim_max;
  return supply;
}

void check_supply(const MemoryDemand& demand, const MemorySupply& supply) {
  require(demand.content, supply.available, "bytes of memory and swap are available",
          "End other programs, or add swap");
  require(demand.content, supply.group_limit,
          "bytes is the limit of this control group (memory.max, memory.limit_in_bytes)", "Raise it");
  require(demand.committed, supply.commit_room, "bytes are left to commit (vm.overcommit_memory is 2)",
          "Add swap, or raise vm.overcommit_ratio");
  require(demand.address_space, supply.address_space, "bytes is the limit of the address space (RLIMIT_AS)",
          "Raise it with ulimit -v");
  require(demand.data, supply.data, "bytes is the limit of private data (RLIMIT_DATA)", "Raise it with ulimit -d");
  require(areas_needed_for(demand.areas), supply.areas, "areas is the limit (vm.max_map_count)",
          "Raise it with sysctl vm.max_map_count");
}

}  // namespace crs::engine
