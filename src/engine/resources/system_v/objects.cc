#include "engine/resources/system_v/objects.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/io.h"
#include "base/no_process.h"
#include "engine/resources/memory/smaps.h"
#include "engine/tracee/remote_address.h"

namespace crs::engine {
namespace {

// SHM_STAT_ANY and the like: Linux 4.17.
constexpr int kShmStatAny = 15;
constexpr int kSemStatAny = 20;
constexpr int kMsgStatAny = 13;
constexpr int kIndexMask = 0x7fff;  // an id is 32768 times a sequence number, and a place (IPCMNI_SHIFT)

// The fourth argument of semctl(2).
union SemaphoreArgument {
  int value;
  semid_ds* state;
  unsigned short* values;
  seminfo* info;
};

// Those of an index: the id, or -1.
int by_index(int index, shmid_ds& state) { return ::shmctl(index, kShmStatAny, &state); }
int by_index(int index, semid_ds& state) { return ::semctl(index, 0, kSemStatAny, SemaphoreArgument{.state = &state}); }
int by_index(int index, msqid_ds& state) { return ::msgctl(index, kMsgStatAny, &state); }

template <typename Found>
std::vector<Found> find_up_to(int last) {
  std::vector<Found> all;
  for (int index = 0; index <= last; ++index) {
    Found found{};
    found.id = by_index(index, found.state);
    if (found.id >= 0) all.push_back(found);
  }
  return all;
}

template <typename Found>
std::optional<Found> at_place_of(int id) {
  Found found{};
  found.id = by_index(id & kIndexMask, found.state);
  return found.id >= 0 ? std::optional(found) : std::nullopt;
}

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

MappedArea area_of_attached(const Attached& segment) {
  for (MappedArea& area : read_smaps(::getpid())) {
    if (area.range.start.value == reinterpret_cast<std::uint64_t>(segment.bytes())) return std::move(area);
  }
  fail(ErrorKind::Failed, "an attached System V {} is not to be seen in /proc/self/smaps", kSegmentName);
}

// Of one of huge pages, where this process may open it (proc_pid_map_files(5)): reading that brings in no page. Null
// otherwise.
FileDescriptor file_of(const MappedArea& area) {
  if (area.page_bytes == kPageSize) return {};
  const std::string path = fmt::format("/proc/self/map_files/{:x}-{:x}", area.range.start.value, area.range.end.value);
  return FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

// Reading a huge page that is not there brings it, and may take the last free one: nobody says whether the segment has
// reserved its pages (SHM_NORESERVE).
void require_seen(const MappedArea& area, const FileDescriptor& file) {
  if (file || area.page_bytes == kPageSize) return;
  throw Error(ErrorKind::Failed,
              "which of its huge pages there are can be seen only with CAP_CHECKPOINT_RESTORE in the initial user "
              "namespace");
}

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
  shm_info info{};
  return find_up_to<FoundSegment>(::shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&info)));
}

std::optional<FoundSegment> segment_at(int id) { return at_place_of<FoundSegment>(id); }

std::vector<FoundSemaphores> find_semaphores() {
  seminfo info{};
  return find_up_to<FoundSemaphores>(::semctl(0, 0, SEM_INFO, SemaphoreArgument{.info = &info}));
}

std::optional<FoundSemaphores> semaphores_at(int id) { return at_place_of<FoundSemaphores>(id); }

std::vector<SemaphoreState> look_at_semaphores(const FoundSemaphores& found) {
  std::vector<unsigned short> values(found.state.sem_nsems);
  std::vector<SemaphoreState> states;
  if (::semctl(found.id, 0, GETALL, SemaphoreArgument{.values = values.data()}) < 0)
    fail_errno(errno, "cannot read System V {} {}", kSemaphoresName, found.id);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int last = ::semctl(found.id, static_cast<int>(i), GETPID);
    if (last < 0) fail_errno(errno, "cannot read System V {} {}", kSemaphoresName, found.id);
    states.push_back({values[i], last});
  }
  return states;
}

int waiting_at_semaphores(const FoundSemaphores& found) {
  int waiting = 0;
  for (int i = 0; i < static_cast<int>(found.state.sem_nsems); ++i) {
    waiting += std::max(0, ::semctl(found.id, i, GETNCNT)) + std::max(0, ::semctl(found.id, i, GETZCNT));
  }
  return waiting;
}

std::vector<FoundQueue> find_queues() {
  msginfo info{};
  return find_up_to<FoundQueue>(::msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&info)));
}

std::optional<FoundQueue> queue_at(int id) { return at_place_of<FoundQueue>(id); }

void copy_messages(const FoundQueue& found, image::MessageQueue& image) {
  // A msgbuf: its type and then the text.
  std::vector<char> buffer(sizeof(long) + found.state.__msg_cbytes + 1);
  for (msgqnum_t i = 0; i < found.state.msg_qnum; ++i) {
    const ssize_t length =
        ::msgrcv(found.id, buffer.data(), buffer.size() - sizeof(long), static_cast<long>(i), MSG_COPY | IPC_NOWAIT);
    if (length < 0) fail_errno(errno, "cannot read System V {} {}", kQueueName, found.id);
    long type = 0;
    std::memcpy(&type, buffer.data(), sizeof type);
    image::SystemVMessage& message = *image.add_messages();
    message.set_type(type);
    message.set_text(buffer.data() + sizeof type, static_cast<std::size_t>(length));
  }
}

void copy_segment(int id, std::uint64_t size, int to) {
  const Attached segment(id);
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 16;
  if (::ftruncate(to, static_cast<off_t>(size)) != 0) fail_errno(errno, "cannot keep System V {} {}", kSegmentName, id);
  const MappedArea area = area_of_attached(segment);
  const FileDescriptor file = file_of(area);
  require_seen(area, file);
  std::vector<std::byte> read(file ? kPiece : 0);
  for (std::uint64_t position = 0; position < size; position += kPiece) {
    const std::uint64_t bytes = std::min(kPiece, size - position);
    std::span<const std::byte> piece;
    if (file) {
      pread_exact(file.get(), kSegmentName, std::span(read).first(bytes), position);
      piece = std::span(read).first(bytes);
    } else {
      piece = {segment.bytes() + position, bytes};
    }
    if (!is_zero(piece)) pwrite_all(to, "the snapshot", piece, position);
  }
}

void check_segment_can_be_seen(int id) {
  const Attached segment(id);
  const MappedArea area = area_of_attached(segment);
  require_seen(area, file_of(area));
}

std::optional<std::uint64_t> huge_page_bytes_of_segment(int id) {
  try {
    const Attached segment(id);
    return area_of_attached(segment).page_bytes == kPageSize ? 0 : area_of_attached(segment).page_bytes;
  } catch (const Error&) {
    return std::nullopt;
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
  if (visitor < 0) throw no_process("cannot make a process", errno);
  if (visitor == 0) visit(pid, pidfd, write_end.get(), action);
  write_end.reset();
  const std::string report = read_file(read_end.get(), "a pipe");
  while (::waitpid(visitor, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (report.starts_with(kDone)) return report.substr(1);
  fail(ErrorKind::Failed, "{}", report.empty() ? "the process that looks at IPC objects has died" : report.substr(1));
}

}  // namespace crs::engine
