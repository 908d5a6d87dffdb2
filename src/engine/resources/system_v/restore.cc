// Making the objects again, with their ids: Documentation/admin-guide/sysctl/kernel.rst, msg_next_id, sem_next_id and
// shm_next_id.
#include <fmt/format.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/system_v/objects.h"
#include "engine/resources/system_v/system_v.h"

namespace crs::engine {
namespace {

// Until an object has its own rights.
constexpr int kPrivateMode = 0600;

bool is_alive(pid_t pid) { return pid > 0 && (::kill(pid, 0) == 0 || errno == EPERM); }

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

void choose_next_id(std::string_view kind, int id) {
  const std::string path = fmt::format("/proc/sys/kernel/{}_next_id", kind);
  try {
    const FileDescriptor file = open_file(path, O_WRONLY);
    write_all(file.get(), path, as_byte_span(std::to_string(id)));
  } catch (Error& error) {
    throw error.advise("Only CAP_CHECKPOINT_RESTORE (Linux 5.9) may choose such ids; use --ids namespace");
  }
}

// Why what stands at the object's place is not what the killed program left there; empty if it is.
std::string obstacle(const image::SharedSegment& segment, const FoundSegment& found, bool same_boot) {
  const shmid_ds& state = found.state;
  const image::SystemVObject& object = segment.object();
  const bool same = same_boot && found.id == object.id() && state.shm_perm.cuid == object.creator_user() &&
                    (state.shm_perm.__key == object.key() || state.shm_perm.__key == IPC_PRIVATE);
  if (!same) return fmt::format("its place is taken by segment {}", found.id);
  if (state.shm_nattch > 0) return fmt::format("it is attached by another process ({})", state.shm_lpid);
  if (is_alive(state.shm_cpid)) return fmt::format("it belongs to process {}", state.shm_cpid);
  return {};
}

[[noreturn]] void fail_taken(const image::SystemVObject& object, std::string_view kind, std::string_view why,
                             char option) {
  throw Error(ErrorKind::Failed, fmt::format("{} is in use here: {}", name_of_object(kind, object), why))
      .advise(fmt::format("Use --ids namespace, or remove it (ipcrm -{} ID)", option));
}

void check_free(const image::SharedSegment& segment, bool same_boot) {
  const image::SystemVObject& object = segment.object();
  if (const auto found = segment_at(object.id())) {
    const std::string why = obstacle(segment, *found, same_boot);
    if (!why.empty()) fail_taken(object, kSegmentName, why, 'm');
  }
  if (object.key() == IPC_PRIVATE) return;
  const int other = ::shmget(object.key(), 0, 0);
  if ((other >= 0 && other != object.id()) || (other < 0 && errno == EACCES))
    fail_taken(object, kSegmentName, "another has its key", 'm');
}

void remove_segment(int id) { ::shmctl(id, IPC_RMID, nullptr); }

void make_segment(const image::SharedSegment& segment) {
  const image::SystemVObject& object = segment.object();
  if (segment_at(object.id())) remove_segment(object.id());  // left behind: see check_free()
  choose_next_id("shm", object.id());
  const Creator creator(object);
  const int id = ::shmget(object.key(), segment.size(), kPrivateMode | IPC_CREAT | IPC_EXCL);
  if (id < 0) fail_errno(errno, "cannot make a segment of {} bytes", segment.size());
  if (id == object.id()) return;
  remove_segment(id);
  fail(ErrorKind::Failed, "the id is in use here");
}

void fill_segment(const NewbornContext& context, const image::SharedSegment& segment) {
  const FileDescriptor file = context.content.open(segment.content());
  void* const start = ::shmat(segment.object().id(), nullptr, 0);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): shmat(2) says it so
  if (start == reinterpret_cast<void*>(-1)) fail_errno(errno, "shmat");
  pread_exact(file.get(), segment.content(), std::span(static_cast<std::byte*>(start), segment.size()), 0);
  if (::shmdt(start) != 0) fail_errno(errno, "shmdt");
}

void give_rights(const NewbornContext& context, const image::SharedSegment& segment) {
  const image::SystemVObject& object = segment.object();
  const std::string name = name_of_object(kSegmentName, object);
  shmid_ds state{};
  if (::shmctl(object.id(), IPC_STAT, &state) != 0) fail_errno(errno, "shmctl (IPC_STAT)");
  if (state.shm_perm.cuid != object.creator_user() || state.shm_perm.cgid != object.creator_group())
    context.notes.push_back(fmt::format("{} was made by another user or group: it is this user's now", name));
  state.shm_perm.uid = object.user();
  state.shm_perm.gid = object.group();
  state.shm_perm.mode = static_cast<unsigned short>(object.mode());
  if (::shmctl(object.id(), IPC_SET, &state) != 0) {
    context.notes.push_back(fmt::format("{} belonged to another user: it is this user's now", name));
    state.shm_perm.uid = ::geteuid();
    state.shm_perm.gid = ::getegid();
    if (::shmctl(object.id(), IPC_SET, &state) != 0) fail_errno(errno, "shmctl (IPC_SET)");
  }
  if (segment.locked() && ::shmctl(object.id(), SHM_LOCK, nullptr) != 0)
    context.notes.push_back(fmt::format("{} is not locked any more (SHM_LOCK: {})", name, ::strerrordesc_np(errno)));
  // It lasts as long as somebody has it attached, which this process has.
  if (segment.removed()) remove_segment(object.id());
}

}  // namespace

void SystemVPlaces::check() const {
  if (!has_objects(image_)) return;
  const bool same_boot = image_.boot() == read_file("/proc/sys/kernel/random/boot_id");
  for (const image::SharedSegment& segment : image_.segments()) check_free(segment, same_boot);
}

SystemVPlaces::~SystemVPlaces() {
  if (!making_) return;
  for (const image::SharedSegment& segment : image_.segments()) remove_segment(segment.object().id());
}

void make_system_v_inside(const NewbornContext& context, const image::SystemV& image) {
  for (const image::SharedSegment& segment : image.segments()) {
    in_context(name_of_object(kSegmentName, segment.object()), [&] {
      make_segment(segment);
      if (!segment.content().empty()) fill_segment(context, segment);
    });
  }
}

void finish_system_v_inside(const NewbornContext& context, const image::SystemV& image) {
  for (const image::SharedSegment& segment : image.segments())
    in_context(name_of_object(kSegmentName, segment.object()), [&] { give_rights(context, segment); });
}

}  // namespace crs::engine
