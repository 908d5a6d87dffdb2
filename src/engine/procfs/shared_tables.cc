#include "engine/procfs/shared_tables.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <optional>
#include <set>

#include "base/error.h"

namespace crs::engine {
namespace {

// An order of the tables of stopped processes: <0, 0 or >0.
int compare_tables(int type, pid_t first, pid_t second) {
  const long order = ::syscall(SYS_kcmp, first, second, type, 0, 0);
  const int problem = errno;
  if (order < 0) fail_to_compare(problem, fmt::format("cannot compare processes {} and {}", first, second));
  return order == 0 ? 0 : order == 1 ? -1 : 1;
}

}  // namespace

bool have_one_memory(pid_t one, pid_t other) { return ::syscall(SYS_kcmp, one, other, KCMP_VM, 0, 0) == 0; }

std::vector<std::pair<pid_t, pid_t>> pairs_with_outside(std::vector<pid_t> pids, int type) {
  // <0, 0 or >0; nothing where it cannot be told.
  const auto order = [&](pid_t one, pid_t other) -> std::optional<int> {
    const long result = ::syscall(SYS_kcmp, one, other, type, 0, 0);
    if (result < 0) return std::nullopt;
    return result == 0 ? 0 : result == 1 ? -1 : 1;
  };
  std::vector<std::pair<pid_t, pid_t>> pairs;
  const std::set<pid_t> inside(pids.begin(), pids.end());
  std::ranges::stable_sort(pids, [&](pid_t one, pid_t other) { return order(one, other).value_or(0) < 0; });
  std::error_code problem;
  std::filesystem::directory_iterator entry("/proc", problem);
  for (; !problem && entry != std::filesystem::directory_iterator(); entry.increment(problem)) {
    const pid_t other = std::atoi(entry->path().filename().c_str());
    if (other <= 0 || other == ::getpid() || inside.contains(other)) continue;
    for (std::size_t first = 0, end = pids.size(); first < end;) {
      const std::size_t middle = first + (end - first) / 2;
      const std::optional<int> place = order(pids[middle], other);
      if (place == 0) pairs.emplace_back(pids[middle], other);
      if (!place || place == 0) break;
      (*place < 0 ? first : end) = *place < 0 ? middle + 1 : middle;
    }
  }
  return pairs;
}

std::vector<std::size_t> first_with_same_table(std::span<const pid_t> pids, int type) {
  std::vector<std::size_t> first(pids.size());
  std::iota(first.begin(), first.end(), std::size_t{0});
  std::vector<std::size_t> sorted = first;
  std::erase_if(sorted, [&](std::size_t index) { return pids[index] == 0; });
  // Stable: of those with one table the first comes first.
  std::ranges::stable_sort(sorted,
                           [&](std::size_t a, std::size_t b) { return compare_tables(type, pids[a], pids[b]) < 0; });
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (compare_tables(type, pids[sorted[i - 1]], pids[sorted[i]]) == 0) first[sorted[i]] = first[sorted[i - 1]];
  }
  return first;
}

void fail_to_compare(int problem, const std::string& what) {
  const bool is_forbidden = problem == EPERM || problem == ENOSYS;
  Error error = Error::from_errno(what, problem);
  if (!is_forbidden) throw error;
  throw error.advise(
      "kcmp(2) is not allowed here, by a container's seccomp filter, say: 'crs check' shows what is; run the "
      "container with --cap-add SYS_PTRACE, or with a profile that lets it through");
}

}  // namespace crs::engine
