// What there is in an IPC namespace.
#pragma once

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
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
inline constexpr std::string_view kSemaphoresName = "semaphore set";
inline constexpr std::string_view kQueueName = "message queue";

void record_object(int id, const ipc_perm& permissions, image::SystemVObject& image);

struct FoundSegment {
  int id;
  shmid_ds state;
};

// Of the calling process's IPC namespace.
std::vector<FoundSegment> find_segments();
// The one whose place in the kernel's table `id` has: another id may have the same.
std::optional<FoundSegment> segment_at(int id);

struct FoundSemaphores {
  int id;
  semid_ds state;
};
std::vector<FoundSemaphores> find_semaphores();
std::optional<FoundSemaphores> semaphores_at(int id);

struct SemaphoreState {
  int value;
  pid_t last_process;  // as this process sees it
};
// Throws where this process may not read it.
std::vector<SemaphoreState> look_at_semaphores(const FoundSemaphores& found);
// How many processes wait for it to change.
int waiting_at_semaphores(const FoundSemaphores& found);

struct FoundQueue {
  int id;
  msqid_ds state;
};
std::vector<FoundQueue> find_queues();
std::optional<FoundQueue> queue_at(int id);
// Adds the messages, which stay where they are (MSG_COPY of msgrcv(2)). Throws where this process may not read them.
void copy_messages(const FoundQueue& found, image::MessageQueue& image);

// Writes the content of a segment to the file `to`, with holes where it has zeros. Throws; for one of huge pages also
// unless check_segment_can_be_seen() allows it.
void copy_segment(int id, std::uint64_t size, int to);

// Throws unless all of it can be looked at as it is.
void check_segment_can_be_seen(int id);
// Of the pages that were set aside in which a segment lies (SHM_HUGETLB); 0: usual pages. Attaches it: nothing else
// tells. Nothing where this process may not.
std::optional<std::uint64_t> huge_page_bytes_of_segment(int id);

// Runs `action` in the IPC namespace of process `pid`, with the rights that its maker has there: in a process of its
// own, unless that is this process's namespace, too. Throws what it throws. `pidfd`: of that process.
std::string in_ipc_namespace_of(pid_t pid, int pidfd, const std::function<std::string()>& action);
bool is_in_own_ipc_namespace(pid_t pid);

}  // namespace crs::engine
