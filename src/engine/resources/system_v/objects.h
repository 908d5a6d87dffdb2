// What there is in an IPC namespace.
#pragma once

#include <sys/ipc.h>
#include <sys/shm.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/resources/system_v/system_v.pb.h"

namespace crs::engine {

// "System V shared memory segment 5 (key 0x1234)"
std::string name_of_object(std::string_view kind, const image::SystemVObject& object);
inline constexpr std::string_view kSegmentName = "shared memory segment";

void record_object(int id, const ipc_perm& permissions, image::SystemVObject& image);

struct FoundSegment {
  int id;
  shmid_ds state;
};

// Of the calling process's IPC namespace.
std::vector<FoundSegment> find_segments();
// The one whose place in the kernel's table `id` has: another id may have the same.
std::optional<FoundSegment> segment_at(int id);

// Writes the content of a segment to the file `to`, with holes where it has zeros. Throws.
void copy_segment(int id, std::uint64_t size, int to);

// Runs `action` in the IPC namespace of process `pid`, with the rights that its maker has there: in a process of its
// own, unless that is this process's namespace, too. Throws what it throws. `pidfd`: of that process.
std::string in_ipc_namespace_of(pid_t pid, int pidfd, const std::function<std::string()>& action);
bool is_in_own_ipc_namespace(pid_t pid);

}  // namespace crs::engine
