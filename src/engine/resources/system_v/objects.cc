#include "engine/resources/system_v/objects.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "base/error.h"
#include "base/io.h"
#include "engine/tracee/remote_address.h"

namespace crs::engine {
namespace {

constexpr int kShmStatAny = 15;     // SHM_STAT_ANY: Linux 4.17
constexpr int kIndexMask = 0x7fff;  // an id is 32768 times a sequence number, and a place (IPCMNI_SHIFT)

// The id, or -1.
int segment_by_index(int index, shmid_ds& state) { return ::shmctl(index, kShmStatAny, &state); }

// A segment attached for reading.
class Attached {
 public:
  explicit Attached(int id) : start_(::shmat(id, nullptr, SHM_RDONLY)) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): shmat(2) says it so
    if (start_ == reinterpret_cast<void*>(-1)) fail_errno(errno, "cannot look into System V {} {}", kSegmentName, id);
  }
  ~Attached() { ::shmdt(start_); }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;
  const std::byte* bytes() const { return static_cast<const std::byte*>(start_); }

 private:
  void* start_;
};

void join_ipc_namespace(pid_t pid, int pidfd) {
  const auto differs = [&](std::string_view kind) {
    return read_link(fmt::format("/proc/{}/ns/{}", pid, kind)) != read_link(fmt::format("/proc/self/ns/{}", kind));
  };
  const int kinds = (differs("user") ? CLONE_NEWUSER : 0) | CLONE_NEWIPC;
  if (::setns(pidfd, kinds) != 0) fail_errno(errno, "cannot join the IPC namespace of process {}", pid);
}

// What such a process reports: whether it went well, and the answer or the problem.
constexpr char kDone = 'd';
constexpr char kFailed = 'f';

[[noreturn]] void visit(pid_t pid, int pidfd, int report, const std::function<std::string()>& action) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::string text;
  try {
    join_ipc_namespace(pid, pidfd);
    text = kDone + action();
  } catch (const std::exception& error) {
    text = kFailed + std::string(error.what());
  }
  try {
    write_all(report, "a pipe", as_byte_span(text));
  } catch (const std::exception&) {  // nobody listens any more
  }
  ::_exit(0);
}

}  // namespace

std::string name_of_object(std::string_view kind, const image::SystemVObject& object) {
  return fmt::format("System V {} {} (key {:#x})", kind, object.id(), static_cast<std::uint32_t>(object.key()));
}

void record_object(int id, const ipc_perm& permissions, image::SystemVObject& image) {
  constexpr unsigned kRights = 0777;
  image.set_id(id);
  image.set_key(permissions.__key);
  image.set_user(permissions.uid);
  image.set_group(permissions.gid);
  image.set_creator_user(permissions.cuid);
  image.set_creator_group(permissions.cgid);
  image.set_mode(permissions.mode & kRights);
}

std::vector<FoundSegment> find_segments() {
  std::vector<FoundSegment> found;
  shm_info info{};
  const int last = ::shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&info));
  for (int index = 0; index <= last; ++index) {
    FoundSegment segment{};
    segment.id = segment_by_index(index, segment.state);
    if (segment.id >= 0) found.push_back(segment);
  }
  return found;
}

std::optional<FoundSegment> segment_at(int id) {
  FoundSegment segment{};
  segment.id = segment_by_index(id & kIndexMask, segment.state);
  return segment.id >= 0 ? std::optional(segment) : std::nullopt;
}

void copy_segment(int id, std::uint64_t size, int to) {
  const Attached segment(id);
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 16;
  if (::ftruncate(to, static_cast<off_t>(size)) != 0) fail_errno(errno, "cannot keep System V {} {}", kSegmentName, id);
  for (std::uint64_t position = 0; position < size; position += kPiece) {
    const std::span piece(segment.bytes() + position, std::min(kPiece, size - position));
    if (std::ranges::all_of(piece, [](std::byte byte) { return byte == std::byte{0}; })) continue;
    pwrite_all(to, "the snapshot", piece, position);
  }
}

bool is_in_own_ipc_namespace(pid_t pid) {
  return read_link(fmt::format("/proc/{}/ns/ipc", pid)) == read_link("/proc/self/ns/ipc");
}

std::string in_ipc_namespace_of(pid_t pid, int pidfd, const std::function<std::string()>& action) {
  if (is_in_own_ipc_namespace(pid)) return action();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail_errno(errno, "making a pipe");
  const FileDescriptor read_end(ends[0]);
  FileDescriptor write_end(ends[1]);
  const pid_t visitor = ::fork();
  if (visitor < 0) fail_errno(errno, "cannot make a process");
  if (visitor == 0) visit(pid, pidfd, write_end.get(), action);
  write_end.reset();
  const std::string report = read_file(read_end.get(), "a pipe");
  while (::waitpid(visitor, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (report.starts_with(kDone)) return report.substr(1);
  fail(ErrorKind::Failed, "{}", report.empty() ? "the process that looks at IPC objects has died" : report.substr(1));
}

}  // namespace crs::engine
