#include "engine/resources/system_v/places.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/system_v/system_v.h"

namespace crs::engine {
namespace {

bool is_alive(pid_t pid) { return pid > 0 && (::kill(pid, 0) == 0 || errno == EPERM); }

std::string used_by(std::initializer_list<pid_t> pids) {
  const auto* const user = std::ranges::find_if(pids, is_alive);
  return user == pids.end() ? std::string() : fmt::format("process {} uses it", *user);
}

// Why what has the object's id is not what the killed program left there; empty if it is.
std::string user_of(const FoundSegment& found) {
  if (found.state.shm_nattch > 0) return fmt::format("process {} has attached it", found.state.shm_lpid);
  return used_by({found.state.shm_cpid});
}

std::string user_of(const FoundSemaphores& found) {
  if (waiting_at_semaphores(found) > 0) return "a process waits for it";
  for (const SemaphoreState& one : look_at_semaphores(found)) {
    const std::string user = used_by({one.last_process});
    if (!user.empty()) return user;
  }
  return {};
}

std::string user_of(const FoundQueue& found) { return used_by({found.state.msg_lspid, found.state.msg_lrpid}); }

// The id of another object with the key, or -1; -2 if it is a stranger's.
template <typename Get>
int with_key(const image::SystemVObject& object, Get get) {
  if (object.key() == IPC_PRIVATE) return -1;
  const int id = get(object.key());
  if (id < 0) return errno == EACCES ? -2 : -1;
  return id == object.id() ? -1 : id;
}

template <typename Found, typename Get>
void check_free(const image::SystemVObject& object, std::string_view kind, char option, bool same_boot,
                const std::optional<Found>& found, const ipc_perm& rights, Get get) {
  std::string why;
  if (found) {
    const bool same = same_boot && found->id == object.id() && rights.cuid == object.creator_user() &&
                      (rights.__key == object.key() || rights.__key == IPC_PRIVATE);
    why = same ? user_of(*found) : fmt::format("its place is taken by {} {}", kind, found->id);
  }
  if (why.empty() && with_key(object, get) != -1) why = "another has its key";
  if (why.empty()) return;
  throw Error(ErrorKind::Failed, fmt::format("{} is in use here: {}", name_of_object(kind, object), why))
      .advise(fmt::format("Use --ids namespace, or remove what is in use (ipcrm -{} ID)", option));
}

void check_free(const image::SharedSegment& segment, bool same_boot) {
  const auto found = segment_at(segment.object().id());
  check_free(segment.object(), kSegmentName, 'm', same_boot, found, found ? found->state.shm_perm : ipc_perm{},
             [](key_t key) { return ::shmget(key, 0, 0); });
}

void check_free(const image::SemaphoreSet& set, bool same_boot) {
  const auto found = semaphores_at(set.object().id());
  check_free(set.object(), kSemaphoresName, 's', same_boot, found, found ? found->state.sem_perm : ipc_perm{},
             [](key_t key) { return ::semget(key, 0, 0); });
}

void check_free(const image::MessageQueue& queue, bool same_boot) {
  const auto found = queue_at(queue.object().id());
  check_free(queue.object(), kQueueName, 'q', same_boot, found, found ? found->state.msg_perm : ipc_perm{},
             [](key_t key) { return ::msgget(key, 0); });
}

template <typename Action>
void for_each_object(const image::SystemV& image, Action action) {
  for (const image::SharedSegment& segment : image.segments()) action(segment);
  for (const image::SemaphoreSet& set : image.semaphores()) action(set);
  for (const image::MessageQueue& queue : image.queues()) action(queue);
}

template <typename Object, typename Found, typename Rights>
bool is_still_there(const Object& object, const std::optional<Found>& found, Rights rights) {
  const image::SystemVObject& common = object.object();
  if (!common.awaited() || !found) return false;
  const ipc_perm& now = rights(*found);
  return found->id == common.id() && now.__key == common.key() && now.cuid == common.creator_user();
}

bool is_still_there(const image::SemaphoreSet& set) {
  return is_still_there(set, semaphores_at(set.object().id()),
                        [](const FoundSemaphores& found) -> const ipc_perm& { return found.state.sem_perm; });
}

bool is_still_there(const image::MessageQueue& queue) {
  return is_still_there(queue, queue_at(queue.object().id()),
                        [](const FoundQueue& found) -> const ipc_perm& { return found.state.msg_perm; });
}

template <typename Objects>
void erase_those_there(Objects& objects) {
  for (int i = objects.size(); i-- > 0;) {
    if (is_still_there(objects.Get(i))) objects.erase(objects.begin() + i);
  }
}

}  // namespace

bool needs_own_namespace(const image::SystemV& image) {
  image::SystemV rest = image;
  leave_alone(rest);
  return has_objects(rest);
}

void leave_alone(image::SystemV& image) {
  if (!has_objects(image) || image.boot() != read_file("/proc/sys/kernel/random/boot_id")) return;
  erase_those_there(*image.mutable_semaphores());
  erase_those_there(*image.mutable_queues());
}

void remove_object(const image::SharedSegment& segment) { ::shmctl(segment.object().id(), IPC_RMID, nullptr); }
void remove_object(const image::SemaphoreSet& set) { ::semctl(set.object().id(), 0, IPC_RMID); }
void remove_object(const image::MessageQueue& queue) { ::msgctl(queue.object().id(), IPC_RMID, nullptr); }

bool is_taken(const image::SharedSegment& segment) { return segment_at(segment.object().id()).has_value(); }
bool is_taken(const image::SemaphoreSet& set) { return semaphores_at(set.object().id()).has_value(); }
bool is_taken(const image::MessageQueue& queue) { return queue_at(queue.object().id()).has_value(); }

void SystemVPlaces::check() const {
  if (!has_objects(image_)) return;
  const bool same_boot = image_.boot() == read_file("/proc/sys/kernel/random/boot_id");
  for_each_object(image_, [&](const auto& object) { check_free(object, same_boot); });
}

SystemVPlaces::~SystemVPlaces() {
  if (making_) for_each_object(image_, [](const auto& object) { remove_object(object); });
}

}  // namespace crs::engine
