#include "engine/resources/descriptors/seen.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <span>
#include <tuple>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/other_names.h"
#include "engine/procfs/shared_tables.h"
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

Candidate look_at(const CapturedProcess& process, std::uint32_t index, int number) {
  struct stat status{};
  const std::string path = fmt::format("/proc/{}/fd/{}", process.pid, number);
  if (::stat(path.c_str(), &status) != 0)
    fail_errno(errno, "cannot look at descriptor {} of process {}", number, process.own_pid);
  const FdInfo info = FdInfo::of(process.pid, number);
  const std::uint64_t flags = info.number("flags", 8);
  return {{number, (flags & O_CLOEXEC) != 0, index, info.find("lock").has_value()},
          {status.st_dev, status.st_ino, flags & ~std::uint64_t{O_CLOEXEC}, info.position()}};
}

// What /proc shows of the process's own files in /proc. Below the init of a restart they are those of another /proc,
// which has the id that the process has there.
std::string link_from_here(const CapturedProcess& process, const Seen& seen) {
  std::string link = read_link(fmt::format("/proc/{}/fd/{}", process.pid, seen.first()));
  if (!link.starts_with("/proc/")) return link;
  const std::string inside = fmt::format("/proc/{}", process.own_pid);
  if (!link.starts_with(inside) || (link.size() > inside.size() && link[inside.size()] != '/')) return link;
  struct stat its_proc{};
  if (::stat(fmt::format("/proc/{}/root/proc", process.pid).c_str(), &its_proc) != 0) return link;
  if (its_proc.st_dev != seen.status.st_dev) return link;
  return link.replace(0, inside.size(), fmt::format("/proc/{}", process.pid));
}

class Look {
 public:
  explicit Look(std::span<const CapturedProcess> processes) : processes_(processes) {}

  std::vector<Seen> run() {
    std::vector<Candidate> candidates;
    for (std::uint32_t index = 0; index < processes_.size(); ++index) {
      const CapturedProcess& process = processes_[index];
      if (process.pidfd < 0 || process.descriptors_of) continue;  // a zombie, or seen already
      for (const int number : list_numbers(process.pid)) candidates.push_back(look_at(process, index, number));
    }
    std::ranges::stable_sort(candidates, {}, &Candidate::key);
    for (auto start = candidates.begin(); start != candidates.end();) {
      const auto end =
          std::find_if(start, candidates.end(), [&](const Candidate& other) { return other.key != start->key; });
      group_alike(std::span(start, end));
      start = end;
    }
    for (std::vector<SeenNumber>& group : groups_) std::ranges::sort(group);
    std::ranges::sort(groups_, {}, [](const std::vector<SeenNumber>& group) { return group.front(); });
    require_room();
    std::vector<Seen> all;
    for (std::vector<SeenNumber>& group : groups_) all.push_back(take(std::move(group)));
    return all;
  }

 private:
  // A copy of each is kept, beside what the rest of a checkpoint takes.
  void require_room() const {
    constexpr std::size_t kOthers = 128;
    constexpr std::size_t kOthersOfProcess = 8;
    const std::size_t needed = groups_.size() + kOthers + processes_.size() * kOthersOfProcess;
    if (needed <= descriptor_limit()) return;
    throw Error(ErrorKind::Failed,
                fmt::format("the program has {} files and sockets open; to look at them crs needs {} descriptors, and "
                            "{} is its limit (RLIMIT_NOFILE)",
                            groups_.size(), needed, descriptor_limit()))
        .advise(fmt::format("Raise the hard limit of the shell that runs crs ('ulimit -n {}' as root), or take the "
                            "snapshot with CAP_SYS_RESOURCE",
                            needed));
  }

  // An order of open file descriptions that is stable while the processes are frozen: <0, 0 or >0.
  int compare_descriptions(const SeenNumber& first, const SeenNumber& second) const {
    const CapturedProcess& one = processes_[first.process];
    const CapturedProcess& other = processes_[second.process];
    const long order = ::syscall(SYS_kcmp, one.pid, other.pid, KCMP_FILE, first.number, second.number);
    const int problem = order < 0 ? errno : EOPNOTSUPP;
    if (order < 0 || order == 3) {
      fail_to_compare(problem, fmt::format("cannot compare descriptor {} of process {} and {} of process {}",
                                           first.number, one.own_pid, second.number, other.own_pid));
    }
    return order == 0 ? 0 : order == 1 ? -1 : 1;
  }

  // `alike` have equal keys; puts those together that kcmp finds equal.
  void group_alike(std::span<Candidate> alike) {
    if (alike.size() > 1) {
      std::ranges::stable_sort(alike, [this](const Candidate& a, const Candidate& b) {
        return compare_descriptions(a.number, b.number) < 0;
      });
    }
    for (std::size_t i = 0; i < alike.size(); ++i) {
      const bool joins = i > 0 && compare_descriptions(alike[i - 1].number, alike[i].number) == 0;
      if (!joins) groups_.emplace_back();
      groups_.back().push_back(alike[i].number);
    }
  }

  Seen take(std::vector<SeenNumber> numbers) {
    Seen seen;
    seen.numbers = std::move(numbers);
    const CapturedProcess& process = processes_[seen.first_process()];
    const int number = seen.first();
    seen.copy = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_getfd, process.pidfd, number, 0)));
    if (!seen.copy) fail_errno(errno, "cannot take a copy of descriptor {} of process {}", number, process.own_pid);
    if (::fstat(seen.copy.get(), &seen.status) != 0)
      fail_errno(errno, "cannot look at descriptor {} of process {}", number, process.own_pid);
    const int flags = ::fcntl(seen.copy.get(), F_GETFL);
    if (flags < 0) fail_errno(errno, "cannot read the flags of descriptor {} of process {}", number, process.own_pid);
    seen.flags = static_cast<std::uint32_t>(flags);
    seen.link = link_from_here(process, seen);
    const bool has_names = S_ISREG(seen.status.st_mode) || S_ISFIFO(seen.status.st_mode);
    if (has_names && seen.status.st_nlink > 0 && seen.link.ends_with(kDeleted)) find_other_name(seen);
    seen.info = FdInfo::of(process.pid, number);
    seen.position = seen.info.position();
    return seen;
  }

  void find_other_name(Seen& seen) {
    const auto leads_there = [&](const std::string& path) {
      struct stat found{};
      return ::lstat(path.c_str(), &found) == 0 && found.st_dev == seen.status.st_dev &&
             found.st_ino == seen.status.st_ino;
    };
    if (leads_there(seen.link)) return;  // it is really called so
    if (const auto name = other_names_.find(seen.link, seen.status.st_ino, leads_there)) seen.link = *name;
  }

  std::span<const CapturedProcess> processes_;
  std::vector<std::vector<SeenNumber>> groups_;
  OtherNames other_names_;
};

}  // namespace

bool Seen::is_path_only() const { return (flags & O_PATH) != 0; }
bool Seen::reads() const { return (flags & O_ACCMODE) != O_WRONLY; }
bool Seen::writes() const { return (flags & O_ACCMODE) != O_RDONLY; }

std::vector<Seen> look_at_descriptors(std::span<const CapturedProcess> processes) { return Look(processes).run(); }

}  // namespace crs::engine
