#include "engine/resources/memory/lazy_pages.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <functional>

#include "base/error.h"
#include "base/io.h"
#include "base/no_process.h"
#include "engine/newborn/maker.h"
#include "engine/pages/pager.h"
#include "engine/procfs/tree.h"
#include "engine/resources/memory/address_space.h"
#include "engine/resources/memory/area_properties.h"
#include "engine/resources/memory/memory.h"

namespace crs::engine {
namespace {

using image::Area;

constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;

// Everything that changes where a page belongs, or whether it is still wanted.
bool begin_userfaults(int descriptor) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features =
      UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;
  return ::ioctl(descriptor, UFFDIO_API, &api) == 0;
}

// Fresh memory of these may come page by page without anyone's noticing. Locked memory must never be waited for; a
// stack that grows does so at its own first touch.
bool may_be_lazy(const Area& area) {
  constexpr std::array kNever = {Area::LOCKED, Area::LOCK_ON_FAULT, Area::GROWS_DOWN, Area::DROPPABLE};
  return area.kind() == Area::ANONYMOUS && area.huge_page_bytes() == 0 &&
         std::ranges::none_of(kNever, [&](Area::Property property) { return has_property(area, property); });
}

bool all_lie_in(const PageRuns& runs, const PageRuns& ranges) {
  return std::ranges::all_of(runs, [&](const RemoteRange& run) {
    const auto behind = std::ranges::upper_bound(ranges, run.start, {}, &RemoteRange::start);
    return behind != ranges.begin() && run.end <= std::prev(behind)->end;
  });
}

FileDescriptor userfault_with(RestoreContext& context, const std::vector<RemoteRange>& ranges) {
  FileDescriptor own = userfault_of(context, kFlags);
  if (!begin_userfaults(own.get())) fail_errno(errno, "UFFDIO_API");
  for (const RemoteRange& range : ranges) {
    uffdio_register request{};
    request.range = {range.start.value, range.size()};
    request.mode = UFFDIO_REGISTER_MODE_MISSING;
    if (::ioctl(own.get(), UFFDIO_REGISTER, &request) != 0)
      fail_errno(errno, "the memory at {:#x}: UFFDIO_REGISTER", range.start.value);
  }
  return own;
}

// For wait_for_memory(): held, by each process that brings some, as long as memory is still to come.
std::string lock_path(const std::string& remembered_path) { return remembered_path + ".loading"; }

FileDescriptor take_lock(const std::string& remembered_path) {
  if (remembered_path.empty()) return {};
  const std::string path = lock_path(remembered_path);
  FileDescriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (lock) ::flock(lock.get(), LOCK_SH | LOCK_NB);
  return lock;
}

// The last one takes the file away.
void leave_lock(const FileDescriptor& lock, const std::string& remembered_path) {
  if (lock && ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) ::unlink(lock_path(remembered_path).c_str());
}

void close_all_but(std::vector<int> kept) {
  std::ranges::sort(kept);
  int first = STDERR_FILENO + 1;
  for (const int number : kept) {
    if (number > first) ::close_range(static_cast<unsigned>(first), static_cast<unsigned>(number - 1), 0);
    first = std::max(first, number + 1);
  }
  ::close_range(static_cast<unsigned>(first), ~0U, 0);
}

void say(std::string_view text) {
  const std::string line = fmt::format("crs: {}\n", text);
  static_cast<void>(!::write(STDERR_FILENO, line.data(), line.size()));
}

// The program and its children: none of them may wait for ever, or see anything but what it had.
void kill_tree(pid_t pid) {
  std::string children;
  try {
    children = read_file(fmt::format("/proc/{0}/task/{0}/children", pid));
  } catch (const Error&) {  // it has ended
  }
  ::kill(pid, SIGKILL);
  for (const char* place = children.c_str(); *place != '\0';) {
    char* end = nullptr;
    const long child = std::strtol(place, &end, 10);
    if (end == place) break;
    if (child > 0) kill_tree(static_cast<pid_t>(child));
    place = end;
  }
}

// That of `first` in front.
std::vector<FileDescriptor> open_processes(pid_t first, std::span<const pid_t> members) {
  std::vector<FileDescriptor> processes;
  processes.emplace_back(static_cast<int>(::syscall(SYS_pidfd_open, first, 0)));
  for (const pid_t member : members) {
    if (member != first) processes.emplace_back(static_cast<int>(::syscall(SYS_pidfd_open, member, 0)));
  }
  return processes;
}

// While this process is there, the descriptor stays open and the program waits for its pages, whatever becomes of the
// worker.
// `members` are pidfds of the program's whole tree. Returns an exit status.
int watch(pid_t program, const std::vector<FileDescriptor>& members, const std::function<void()>& work) {
  const pid_t worker = ::fork();
  if (worker < 0)
    say(fmt::format("process {} is ended: {}", program, no_process("cannot make a process", errno).what()));
  if (worker == 0) {
    try {
      work();
      ::_exit(0);
    } catch (const std::exception& error) {
      say(fmt::format("process {} is ended: {}", program, error.what()));
    }
    ::_exit(1);
  }
  int status = 0;
  while (worker > 0 && ::waitpid(worker, &status, 0) < 0 && errno == EINTR) {
  }
  if (worker > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
  if (worker > 0 && WIFSIGNALED(status))
    say(fmt::format("process {} is ended: the process that brought its memory was killed", program));
  // The id may be another's by now.
  if (::syscall(SYS_pidfd_send_signal, members.front().get(), 0, nullptr, 0) == 0) kill_tree(program);
  for (const FileDescriptor& member : members) ::syscall(SYS_pidfd_send_signal, member.get(), SIGKILL, nullptr, 0);
  return 1;
}

}  // namespace

FileDescriptor userfault_of(RestoreContext& context, int flags) {
  const auto number = static_cast<int>(context.remote.call("userfaultfd", SYS_userfaultfd, flags));
  const FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, context.pid, 0)));
  FileDescriptor own(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
  if (!own) fail_errno(errno, "pidfd_getfd");
  context.remote.call("close", SYS_close, number);
  return own;
}

std::string obstacle_to_lazy_pages() {
  const FileDescriptor probe(static_cast<int>(::syscall(SYS_userfaultfd, kFlags)));
  if (!probe && errno == ENOSYS) return "this kernel has no userfaultfd";
  if (!probe || !begin_userfaults(probe.get()))
    return "only a user with CAP_SYS_PTRACE may leave memory for later (userfaultfd)";
  return {};
}

LazyPages choose_lazy_pages(const image::Memory& image, const PageLoader& loader) {
  LazyPages lazy;
  PageRuns merged;
  for (const Area& area : image.areas()) {
    if (!may_be_lazy(area)) continue;
    lazy.ranges.push_back(range_of(area));
    append_run(merged, range_of(area));
  }
  for (std::size_t extent = 0; extent < loader.extents(); ++extent) {
    const bool may_come_later = all_lie_in(loader.runs(extent), merged);
    (may_come_later ? lazy.extents : lazy.others).push_back(extent);
    if (may_come_later) lazy.bytes += total_bytes(loader.runs(extent));
  }
  return lazy;
}

void start_pager(RestoreContext& context, const LazyPages& lazy, const PageLoader& loader, std::vector<int> page_data,
                 std::span<const pid_t> members, const LazyStart& start) {
  FileDescriptor userfault = userfault_with(context, lazy.ranges);
  const FileDescriptor lock = take_lock(context.options.remembered_path);
  const pid_t program = context.pid;
  const std::vector<FileDescriptor> processes = open_processes(program, members);
  const pid_t between = ::fork();
  if (between < 0) throw no_process("cannot make a process that brings the memory", errno);
  if (between == 0) {
    // An orphan: neither the program's child nor one that this process would have to wait for.
    if (const pid_t orphan = ::fork(); orphan != 0) ::_exit(orphan > 0 ? 0 : errno);
    block_all_signals();
    ::setsid();
    ::prctl(PR_SET_NAME, kPagerName);
    const FileDescriptor nowhere(::open("/dev/null", O_RDWR | O_CLOEXEC));
    ::dup2(nowhere.get(), STDIN_FILENO);
    ::dup2(nowhere.get(), STDOUT_FILENO);
    page_data.insert(page_data.end(), {userfault.get(), lock.get(), start.descriptor()});
    for (const FileDescriptor& process : processes) page_data.push_back(process.get());
    close_all_but(std::move(page_data));
    const int ended = watch(program, processes, [&] {
      Pager pager(std::move(userfault), lazy.ranges, loader, lazy.extents, context.options.read_limit);
      pager.wait_for(start.descriptor());
      pager.run();
    });
    leave_lock(lock, context.options.remembered_path);
    ::_exit(ended);
  }
  int status = 0;
  while (::waitpid(between, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw no_process("cannot make a process that brings the memory", WIFEXITED(status) ? WEXITSTATUS(status) : EINTR);
}

void wait_for_memory(pid_t pid, const std::string& remembered_path) {
  if (remembered_path.empty()) return;
  const FileDescriptor lock(::open(lock_path(remembered_path).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!lock) return;
  // Waits for all who hold it.
  while (::flock(lock.get(), LOCK_EX) != 0) {
    if (errno != EINTR) fail_errno(errno, "waiting for the memory of process {}", pid);
  }
}

}  // namespace crs::engine
