// System V IPC objects (sysvipc(7)): they belong to an IPC namespace, not to a process.
//
// Which are of the tree? Those that a member has attached; all in an IPC namespace that a restart made; and elsewhere
// those of the members' users that a member made or used last, as far as the kernel says who did; those that a thread
// waits for. Of semaphores and queues that nobody has used yet the kernel says nothing: a warning tells of them.
//
// A restart below an init of its own makes an IPC namespace, too, and there every id is free. Elsewhere an id that is
// taken is an error, unless it is the very object that the killed program left behind: that is replaced.
//
// Shared memory is mapped by the memory room, whose SharedMemory names its segment.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "engine/image/process.pb.h"
#include "engine/resources/context.h"
#include "engine/resources/system_v/system_v.pb.h"

namespace crs::engine {

// When every process of the tree has been captured. `root`: of the first of them.
void capture_system_v(CaptureContext& root, std::span<const CapturedProcess> tree, image::Tree& image);

bool has_objects(const image::SystemV& image);

// Whether there is more than objects that are only awaited and still there (leave_alone()).
bool needs_own_namespace(const image::SystemV& image);
// For a restart that makes no IPC namespace: takes those out of the image.
void leave_alone(image::SystemV& image);

// After capture_adjustments() of each, for which every one that has none yet is given a list by the kernel.
// Of processes that have one list of what their end does to semaphores (CLONE_SYSVSEM of clone(2)): the last of them
// does it, and a restart would give each a list of its own. Threads of one process are none of its business.
void refuse_shared_adjustments(CaptureContext& root, std::span<const CapturedProcess> tree);

// Of each process, when the objects of the tree are known: what its end does to semaphores that are more than awaited.
bool has_adjustable(const image::SystemV& image);
void capture_adjustments(CaptureContext& context, const image::SystemV& system_v, image::Process& process);

// Bytes of huge pages (SHM_HUGETLB) by their size that the content of the segments takes at least, beside those that
// the killed program has left there.
std::map<std::uint64_t, std::uint64_t> huge_pages_of_segments(const ContentStore& content, const image::SystemV& image);

// Throws Damaged for an image that cannot be.
void check_system_v(const CheckContext& context, const image::Tree& image);

// The ids in this IPC namespace, where the restart makes none of its own.
class SystemVPlaces {
 public:
  // Throws what is in use. Must not outlive `image`.
  explicit SystemVPlaces(const image::SystemV& image) : image_(image) {}
  // Removes what was made, unless it is kept.
  ~SystemVPlaces();
  SystemVPlaces(const SystemVPlaces&) = delete;
  SystemVPlaces& operator=(const SystemVPlaces&) = delete;

  // Throws what is in use.
  void check() const;
  // From here on they are made.
  void begin() { making_ = true; }
  void keep() { making_ = false; }

 private:
  const image::SystemV& image_;
  bool making_ = false;
};

// In the root newborn, before its children are made: makes the objects ...
void make_system_v_inside(const NewbornContext& context, const image::SystemV& image);
// ... and, when it has attached them, gives them their rights.
void finish_system_v_inside(const NewbornContext& context, const image::SystemV& image);

// From outside, in each process, when all are there, before it has its credentials; and in each when that is done.
void restore_adjustments(RestoreContext& context, const image::SystemV& system_v, const image::Process& process);
void restore_last_users(RestoreContext& context, const image::SystemV& system_v, const image::Process& process);

}  // namespace crs::engine
