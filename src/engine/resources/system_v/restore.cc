// Making the objects again, with their ids: Documentation/admin-guide/sysctl/kernel.rst, msg_next_id, sem_next_id and
// shm_next_id.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/memory/huge_pages.h"
#include "engine/resources/system_v/objects.h"
#include "engine/resources/system_v/places.h"
#include "engine/resources/system_v/system_v.h"

namespace crs::engine {
namespace {

// Until an object has its own rights.
constexpr int kNew = 0600 | IPC_CREAT | IPC_EXCL;

// Makes what is made while it exists belong to others (ipc_perm takes the effective ids), as far as this process may.
class Creator {
 public:
  explicit Creator(const image::SystemVObject& object) : user_(::geteuid()), group_(::getegid()) {
    if (object.creator_group() != group_) static_cast<void>(!::setresgid(~gid_t{0}, object.creator_group(), ~gid_t{0}));
    if (object.creator_user() != user_) static_cast<void>(!::setresuid(~uid_t{0}, object.creator_user(), ~uid_t{0}));
  }
  ~Creator() {
    static_cast<void>(!::setresuid(~uid_t{0}, user_, ~uid_t{0}));
    static_cast<void>(!::setresgid(~gid_t{0}, group_, ~gid_t{0}));
  }
  Creator(const Creator&) = delete;
  Creator& operator=(const Creator&) = delete;

 private:
  uid_t user_;
  gid_t group_;
};

void write_setting(std::string_view name, std::uint64_t value) {
  const std::string path = fmt::format("/proc/sys/kernel/{}", name);
  const FileDescriptor file = open_file(path, O_WRONLY);
  write_all(file.get(), path, as_byte_span(std::to_string(value)));
}

std::uint64_t setting(std::string_view name) {
  return std::strtoull(read_file(fmt::format("/proc/sys/kernel/{}", name)).c_str(), nullptr, 10);
}

// `get` makes it, with its key. `kind` as in the name of the setting.
template <typename Object, typename Get>
void make(const Object& object, std::string_view kind, Get get) {
  const image::SystemVObject& common = object.object();
  if (is_taken(object)) remove_object(object);  // left behind: SystemVPlaces has seen to that
  try {
    write_setting(fmt::format("{}_next_id", kind), static_cast<std::uint64_t>(common.id()));
  } catch (Error& error) {
    throw error.advise("Only CAP_CHECKPOINT_RESTORE (Linux 5.9) may choose such ids; use --ids namespace");
  }
  const Creator creator(common);
  const int id = get(common.key());
  if (id < 0) fail_errno(errno, "cannot make it");
  if (id == common.id()) return;
  Object other;
  other.mutable_object()->set_id(id);
  remove_object(other);
  fail(ErrorKind::Failed, "its id is in use here");
}

// Where there are zeros only, no huge page is taken.
void fill_without_zeros(const FileDescriptor& file, const image::SharedSegment& segment, std::span<std::byte> place) {
  std::vector<std::byte> piece(std::size_t{1} << 16);
  for (std::size_t position = 0; position < place.size(); position += piece.size()) {
    const std::span part = std::span(piece).first(std::min(piece.size(), place.size() - position));
    pread_exact(file.get(), segment.content(), part, position);
    // Not copied by hand: where a huge page cannot be had after all that would be a SIGBUS, and this is an error.
    if (!is_zero(part)) pread_exact(file.get(), segment.content(), place.subspan(position, part.size()), position);
  }
}

int make_segment(const NewbornContext& context, const image::SharedSegment& segment, key_t key) {
  const std::uint64_t page_bytes = segment.huge_page_bytes();
  const int flags = page_bytes == 0 ? 0 : SHM_HUGETLB | huge_page_size_flags(page_bytes);
  int id = ::shmget(key, segment.size(), kNew | flags);
  // Nobody told whether it had reserved its pages.
  if (id < 0 && errno == ENOMEM && page_bytes != 0) {
    id = ::shmget(key, segment.size(), kNew | flags | SHM_NORESERVE);
    if (id >= 0)
      context.notes.push_back(
          fmt::format("{} has no huge pages reserved: there are too few free ones for all of it (SHM_NORESERVE)",
                      name_of_object(kSegmentName, segment.object())));
  }
  if (id >= 0 || page_bytes == 0) return id;
  Error error = Error::from_errno(fmt::format("cannot make it of huge pages of {} KiB", page_bytes / 1024), errno);
  if (error.error_number() == EPERM)
    error.advise("Raise the limit of locked memory (ulimit -l), or let vm.hugetlb_shm_group be a group of this user's");
  if (error.error_number() == ENOMEM) error.advise("There may be too few free huge pages: see /proc/meminfo");
  throw error;
}

void fill(const NewbornContext& context, const image::SharedSegment& segment) {
  if (segment.content().empty()) return;
  const FileDescriptor file = context.content.open(segment.content());
  void* const start = ::shmat(segment.object().id(), nullptr, 0);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): shmat(2) says it so
  if (start == reinterpret_cast<void*>(-1)) fail_errno(errno, "shmat");
  const std::span place(static_cast<std::byte*>(start), segment.size());
  if (segment.huge_page_bytes() == 0) {
    pread_exact(file.get(), segment.content(), place, 0);
  } else {
    try {
      fill_without_zeros(file, segment, place);
    } catch (Error& error) {
      if (error.error_number() != EFAULT) throw;
      fail(ErrorKind::Failed, "there are too few free huge pages of {} KiB for its content: see /proc/meminfo",
           segment.huge_page_bytes() / 1024);
    }
  }
  if (::shmdt(start) != 0) fail_errno(errno, "shmdt");
}

void fill(const image::SemaphoreSet& set) {
  std::vector<unsigned short> values;
  for (const image::Semaphore& one : set.semaphores()) values.push_back(static_cast<unsigned short>(one.value()));
  if (::semctl(set.object().id(), 0, SETALL, values.data()) != 0) fail_errno(errno, "semctl (SETALL)");
}

// A new IPC namespace has the kernel's limits, not those of the one that it was made in.
void raise_limit(std::string_view name, std::uint64_t wanted) {
  try {
    if (setting(name) < wanted) write_setting(name, wanted);
  } catch (const Error&) {  // what is too much is an error then
  }
}

void set_most_bytes(int id, std::uint64_t bytes) {
  msqid_ds state{};
  if (::msgctl(id, IPC_STAT, &state) != 0) fail_errno(errno, "msgctl (IPC_STAT)");
  if (state.msg_qbytes == bytes) return;
  state.msg_qbytes = bytes;
  if (::msgctl(id, IPC_SET, &state) != 0) fail_errno(errno, "it may not hold {} bytes (sysctl kernel.msgmnb)", bytes);
}

// A msgbuf: its type and then the text.
void send(int id, std::int64_t type, std::string_view text) {
  std::vector<char> buffer(sizeof(long) + text.size());
  std::memcpy(buffer.data(), &type, sizeof(long));
  std::ranges::copy(text, buffer.begin() + sizeof(long));
  if (::msgsnd(id, buffer.data(), text.size(), IPC_NOWAIT) != 0)
    fail_errno(errno, "it does not take a message of {} bytes (sysctl kernel.msgmax, kernel.msgmnb)", text.size());
}

void fill(const image::MessageQueue& queue) {
  const int id = queue.object().id();
  std::uint64_t bytes = 0;
  std::uint64_t longest = 0;
  for (const image::SystemVMessage& message : queue.messages()) {
    bytes += message.text().size();
    longest = std::max<std::uint64_t>(longest, message.text().size());
  }
  const std::uint64_t needed = std::max({queue.most_bytes(), bytes, static_cast<std::uint64_t>(queue.messages_size())});
  raise_limit("msgmnb", needed);
  raise_limit("msgmax", longest);
  set_most_bytes(id, std::max<std::uint64_t>(needed, 1));
  // From here on this process has used it last.
  send(id, 1, {});
  long received[1];
  if (::msgrcv(id, received, 0, 0, IPC_NOWAIT) != 0) fail_errno(errno, "msgrcv");
  for (const image::SystemVMessage& message : queue.messages()) send(id, message.type(), message.text());
  set_most_bytes(id, queue.most_bytes());
}

// The control operations of a kind of object, for its ipc_perm.
struct Segments {
  static constexpr std::string_view kName = kSegmentName;
  using State = shmid_ds;
  static ipc_perm& rights(State& state) { return state.shm_perm; }
  static int control(int id, int command, State& state) { return ::shmctl(id, command, &state); }
};
struct Semaphores {
  static constexpr std::string_view kName = kSemaphoresName;
  using State = semid_ds;
  static ipc_perm& rights(State& state) { return state.sem_perm; }
  static int control(int id, int command, State& state) { return ::semctl(id, 0, command, &state); }
};
struct Queues {
  static constexpr std::string_view kName = kQueueName;
  using State = msqid_ds;
  static ipc_perm& rights(State& state) { return state.msg_perm; }
  static int control(int id, int command, State& state) { return ::msgctl(id, command, &state); }
};

template <typename Kind>
void give_rights(const NewbornContext& context, const image::SystemVObject& object) {
  typename Kind::State state{};
  if (Kind::control(object.id(), IPC_STAT, state) != 0) fail_errno(errno, "IPC_STAT");
  ipc_perm& rights = Kind::rights(state);
  const bool same_maker = rights.cuid == object.creator_user() && rights.cgid == object.creator_group();
  rights.uid = object.user();
  rights.gid = object.group();
  rights.mode = static_cast<decltype(rights.mode)>(object.mode());
  const bool same_owner = Kind::control(object.id(), IPC_SET, state) == 0;
  if (!same_maker || !same_owner)
    context.notes.push_back(
        fmt::format("{} was another user's or group's: it is this user's now", name_of_object(Kind::kName, object)));
  if (same_owner) return;
  rights.uid = ::geteuid();
  rights.gid = ::getegid();
  if (Kind::control(object.id(), IPC_SET, state) != 0) fail_errno(errno, "IPC_SET");
}

void finish(const NewbornContext& context, const image::SharedSegment& segment) {
  give_rights<Segments>(context, segment.object());
  if (segment.locked() && ::shmctl(segment.object().id(), SHM_LOCK, nullptr) != 0)
    context.notes.push_back(fmt::format("{} is not locked any more (SHM_LOCK: {})",
                                        name_of_object(kSegmentName, segment.object()), ::strerrordesc_np(errno)));
  // It lasts as long as somebody has it attached, which this process has.
  if (segment.removed()) remove_object(segment);
}

template <typename Objects, typename Action>
void for_each_of(const Objects& objects, std::string_view kind, Action action) {
  for (const auto& one : objects) in_context(name_of_object(kind, one.object()), [&] { action(one); });
}

}  // namespace

void make_system_v_inside(const NewbornContext& context, const image::SystemV& image) {
  for_each_of(image.segments(), kSegmentName, [&](const image::SharedSegment& segment) {
    make(segment, "shm", [&](key_t key) { return make_segment(context, segment, key); });
    fill(context, segment);
  });
  for_each_of(image.semaphores(), kSemaphoresName, [&](const image::SemaphoreSet& set) {
    make(set, "sem", [&](key_t key) { return ::semget(key, set.semaphores_size(), kNew); });
    fill(set);
  });
  for_each_of(image.queues(), kQueueName, [&](const image::MessageQueue& queue) {
    make(queue, "msg", [&](key_t key) { return ::msgget(key, kNew); });
    fill(queue);
  });
}

void finish_system_v_inside(const NewbornContext& context, const image::SystemV& image) {
  for_each_of(image.segments(), kSegmentName, [&](const auto& segment) { finish(context, segment); });
  for_each_of(image.semaphores(), kSemaphoresName,
              [&](const auto& set) { give_rights<Semaphores>(context, set.object()); });
  for_each_of(image.queues(), kQueueName, [&](const auto& queue) { give_rights<Queues>(context, queue.object()); });
}

}  // namespace crs::engine
