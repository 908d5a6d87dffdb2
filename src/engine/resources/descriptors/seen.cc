#include "engine/resources/descriptors/seen.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <span>
#include <tuple>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

// A number before it is known which others share its description.
struct Candidate {
  SeenNumber number;
  std::tuple<dev_t, ino_t, std::uint64_t, std::uint64_t> key;  // device, inode, flags, offset
};

std::vector<int> list_numbers(pid_t pid) {
  const std::string folder = fmt::format("/proc/{}/fd", pid);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(folder.c_str()), ::closedir);
  if (!directory) fail_errno(errno, "cannot list the descriptors of process {}", pid);
  std::vector<int> numbers;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (const auto number = parse_number(entry->d_name)) numbers.push_back(static_cast<int>(*number));
  }
  std::ranges::sort(numbers);
  return numbers;
}

Candidate look_at(pid_t pid, int number) {
  struct stat status{};
  const std::string path = fmt::format("/proc/{}/fd/{}", pid, number);
  if (::stat(path.c_str(), &status) != 0) fail_errno(errno, "cannot look at descriptor {} of process {}", number, pid);
  const FdInfo info = FdInfo::of(pid, number);
  const std::uint64_t flags = info.number("flags", 8);
  return {{number, (flags & O_CLOEXEC) != 0},
          {status.st_dev, status.st_ino, flags & ~std::uint64_t{O_CLOEXEC}, info.number("pos")}};
}

// An order of open file descriptions that is stable while the process is frozen: <0, 0 or >0.
int compare_descriptions(pid_t pid, int first, int second) {
  const long order = ::syscall(SYS_kcmp, pid, pid, KCMP_FILE, first, second);
  if (order < 0) fail_errno(errno, "cannot compare descriptors {} and {} of process {}", first, second, pid);
  if (order == 3)
    fail(ErrorKind::Failed, "this kernel does not order descriptors {} and {} of process {}", first, second, pid);
  return order == 0 ? 0 : order == 1 ? -1 : 1;
}

// What /proc shows of the process's own files in /proc. Below the init of a restart they are those of another /proc,
// which has the id that the process has there.
std::string link_from_here(pid_t pid, const Seen& seen) {
  std::string link = read_link(fmt::format("/proc/{}/fd/{}", pid, seen.first()));
  if (!link.starts_with("/proc/")) return link;
  const std::string inside = fmt::format("/proc/{}", innermost_id(pid));
  if (!link.starts_with(inside) || (link.size() > inside.size() && link[inside.size()] != '/')) return link;
  struct stat its_proc{};
  if (::stat(fmt::format("/proc/{}/root/proc", pid).c_str(), &its_proc) != 0) return link;
  if (its_proc.st_dev != seen.status.st_dev) return link;
  return link.replace(0, inside.size(), fmt::format("/proc/{}", pid));
}

Seen take(pid_t pid, int pidfd, std::vector<SeenNumber> numbers) {
  Seen seen;
  seen.numbers = std::move(numbers);
  seen.copy = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, seen.first(), 0)));
  if (!seen.copy) fail_errno(errno, "cannot take a copy of descriptor {} of process {}", seen.first(), pid);
  if (::fstat(seen.copy.get(), &seen.status) != 0)
    fail_errno(errno, "cannot look at descriptor {} of process {}", seen.first(), pid);
  const int flags = ::fcntl(seen.copy.get(), F_GETFL);
  if (flags < 0) fail_errno(errno, "cannot read the flags of descriptor {} of process {}", seen.first(), pid);
  seen.flags = static_cast<std::uint32_t>(flags);
  seen.link = link_from_here(pid, seen);
  seen.info = FdInfo::of(pid, seen.first());
  seen.position = seen.info.number("pos");
  return seen;
}

// `alike` have equal keys; puts those together that kcmp finds equal.
void group_alike(pid_t pid, std::span<Candidate> alike, std::vector<std::vector<SeenNumber>>& groups) {
  if (alike.size() > 1) {
    std::ranges::stable_sort(alike, [pid](const Candidate& a, const Candidate& b) {
      return compare_descriptions(pid, a.number.number, b.number.number) < 0;
    });
  }
  for (std::size_t i = 0; i < alike.size(); ++i) {
    const bool joins = i > 0 && is_same_description(pid, alike[i - 1].number.number, alike[i].number.number);
    if (!joins) groups.emplace_back();
    groups.back().push_back(alike[i].number);
  }
}

void raise_own_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

}  // namespace

bool Seen::is_path_only() const { return (flags & O_PATH) != 0; }
bool Seen::reads() const { return (flags & O_ACCMODE) != O_WRONLY; }
bool Seen::writes() const { return (flags & O_ACCMODE) != O_RDONLY; }

bool is_same_description(pid_t pid, int first, int second) { return compare_descriptions(pid, first, second) == 0; }

std::vector<Seen> look_at_descriptors(pid_t pid, int pidfd) {
  raise_own_limit();
  std::vector<Candidate> candidates;
  for (const int number : list_numbers(pid)) candidates.push_back(look_at(pid, number));
  std::ranges::stable_sort(candidates, {}, &Candidate::key);

  std::vector<std::vector<SeenNumber>> groups;
  for (auto start = candidates.begin(); start != candidates.end();) {
    const auto end =
        std::find_if(start, candidates.end(), [&](const Candidate& other) { return other.key != start->key; });
    group_alike(pid, std::span(start, end), groups);
    start = end;
  }
  for (std::vector<SeenNumber>& group : groups) std::ranges::sort(group, {}, &SeenNumber::number);
  std::ranges::sort(groups, {}, [](const std::vector<SeenNumber>& group) { return group.front().number; });

  std::vector<Seen> all;
  for (std::vector<SeenNumber>& group : groups) all.push_back(take(pid, pidfd, std::move(group)));
  return all;
}

}  // namespace crs::engine
