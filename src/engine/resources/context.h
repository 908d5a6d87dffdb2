// What a room of resources/ is handed to do its part.
//
// Each room is a folder with its message of the image schema (ROOM.proto) and up to four functions side by side.
//
// capture_ROOM(CaptureContext&, image::ROOM&): the program is frozen; looks and asks, and writes nothing outside the
// snapshot.
//
// check_ROOM(CheckContext&, const image::ROOM&), before anything is started: can this be restored here? Throws what is
// wrong.
//
// restore_ROOM_inside(NewbornContext&, const image::ROOM&) runs in the newborn process, as ordinary code, before its
// memory is replaced.
//
// restore_ROOM(RestoreContext&, const image::ROOM&), from outside: the newborn is stopped; remote calls only.
#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "crs/component.hpp"
#include "engine/procfs/status.h"
#include "engine/resources/surroundings.h"
#include "engine/tracee/asked_ahead.h"
#include "engine/tracee/remote_caller.h"

namespace crs::engine {

// Collects everything that stands in the way, so that the user sees it all at once.
class Refusals {
 public:
  // `what` names process, descriptor or address and what it is: "descriptor 7 of process 4711 is an io_uring"; `advice`
  // what to do.
  void add(std::string what, std::string advice);
  bool empty() const noexcept { return entries_.empty(); }
  // Throws one Error of kind Refused that lists all, if there are any.
  void throw_if_any() const;

 private:
  std::vector<Refusal> entries_;
};

// What the user allowed to be left out ("fd=7"), parsed and checked.
class LeaveOut {
 public:
  LeaveOut() = default;
  // Throws an Error of kind Usage for anything that is not "fd=N".
  explicit LeaveOut(const std::vector<std::string>& exceptions);
  bool descriptor(int number) const;
  const std::vector<int>& descriptors() const noexcept { return descriptors_; }

 private:
  std::vector<int> descriptors_;
};

// The directory of a snapshot, for content that no path reaches any more (unlinked files, memfds).
class ContentStore {
 public:
  explicit ContentStore(std::string directory) : directory_(std::move(directory)) {}
  // For who only looks whether a program can be captured: no content is to be kept, and create() is not to be called.
  ContentStore() : keeps_(false) {}
  bool keeps() const noexcept { return keeps_; }
  // Creates DIRECTORY/files/N and returns the name "files/N" to record in the image, with the descriptor to write to.
  // After writing nothing more needs to be done: the store syncs and checksums it at the commit.
  std::pair<std::string, FileDescriptor> create();
  // Opens such a file for reading. Throws Damaged if `name` is not of that form. Its checksum was verified before the
  // restart began.
  FileDescriptor open(const std::string& name) const;
  const std::string& directory() const noexcept { return directory_; }

 private:
  std::string directory_;
  bool keeps_ = true;
  unsigned next_ = 0;
};

class ContentObjects;
class HeldConnections;
class KeptConnections;
class KeptFiles;
class SharedObjects;

// One process of the tree, as those rooms see it that look at all of them at once.
struct CapturedProcess {
  pid_t pid = 0;  // as in CaptureContext
  pid_t own_pid = 0;
  int pidfd = -1;
  std::vector<pid_t> threads;
  std::uint32_t parent = 0;                          // index, lower than its own but for the root
  std::optional<std::uint32_t> descriptors_of = {};  // the index of the process whose descriptor table it has
};

// What /proc says of threads that stand still, read once of each. Not for what changes all the same: pending signals of
// the process, the mask of a thread that is borrowed.
class StatusesAtStop {
 public:
  const ProcessStatus& of(pid_t tid) {
    const auto known = known_.find(tid);
    return known != known_.end() ? known->second : known_.emplace(tid, ProcessStatus::of(tid)).first->second;
  }

 private:
  std::map<pid_t, ProcessStatus> known_;
};

struct CaptureContext {
  pid_t pid;      // as CRS sees it: for /proc, kcmp, pidfd_getfd, prlimit
  pid_t own_pid;  // as the program sees itself: for messages and for what it will be restored as
  int pidfd;
  RemoteCaller& remote;  // the main thread, borrowed
  const RemoteMemory& memory;
  const std::vector<pid_t>& threads;  // as CRS sees them, main thread first
  Refusals& refusals;
  std::vector<std::string>& warnings;
  ContentStore& content;
  const LeaveOut& leave_out;
  ContentObjects& objects;  // unlinked files and memfds (resources/descriptors/content_objects.h)
  const CheckpointOptions& options;
  SharedObjects* shared =
      nullptr;  // what several processes share (resources/memory/shared_objects.h); null: only one is captured
  HeldConnections* connections = nullptr;  // for --tcp keep (inet_sockets/held_connections.h); null: none can be kept
  // The index of the process whose working directory, root and umask it has (CLONE_FS); none: its own.
  std::optional<std::uint32_t> directories_of = {};
  // In the same way, whose memory (CLONE_VM) and whose signal actions (CLONE_SIGHAND) it has.
  std::optional<std::uint32_t> memory_of = {};
  std::optional<std::uint32_t> signal_actions_of = {};
  // It is only asked whether the process can be kept. What nothing can be refused for, and what cannot fail here where
  // it has not failed for the first process of the program (on the same kernel), is not asked of its threads.
  bool only_looks = false;
  // One for all processes of the program.
  std::shared_ptr<Surroundings> surroundings = std::make_shared<Surroundings>();
  StatusesAtStop statuses = {};
  // When the program's clocks were read. What remains of its timers is counted from there: they run on meanwhile, and
  // in a restarted program its clocks do not.
  std::chrono::steady_clock::time_point clocks_read = std::chrono::steady_clock::now();

  std::chrono::nanoseconds since_clocks_read() const { return std::chrono::steady_clock::now() - clocks_read; }
};

// What a restart by this user would fail at, though the program can be captured: `what` is in the way unless the user
// does as `advice` says. Refused where the program ends with the checkpoint, a warning where it goes on.
void tell_lack(CaptureContext& context, const std::string& what, const std::string& advice);

struct CheckContext {
  const RestartOptions& options;
  const ContentStore& content;
  std::vector<std::string>& notes;          // for the user
  const KeptFiles* kept_files = nullptr;    // resources/descriptors/files/kept_files.h; null: there are none
  std::span<const pid_t> process_ids = {};  // of all processes of the image, as they see themselves, for messages
};

struct NewbornContext {
  const RestartOptions& options;
  const ContentStore& content;
  std::vector<std::string>& notes;
  // The restart command's own standard streams; -1 where it has none.
  std::array<int, 3> standard_streams;
  // The newborn's channel to the restart command and every other descriptor that must stay open until its memory is
  // replaced have numbers from the first of these to before the second; no descriptor of the image lies there.
  // RLIMIT_NOFILE is raised to allow that.
  int first_private_descriptor;
  int end_private_descriptor = std::numeric_limits<int>::max();
  std::uint32_t process = 0;                     // index in image::Tree
  const KeptFiles* kept_files = nullptr;         // as in CheckContext
  const KeptConnections* connections = nullptr;  // inet_sockets/kept_connections.h; null: there are none
  std::span<const pid_t> process_ids = {};       // as in CheckContext
};

struct RestoreContext {
  pid_t pid;             // as CRS sees it
  RemoteCaller& remote;  // the main thread
  const RemoteMemory& memory;
  const RestartOptions& options;
  const ContentStore& content;
  std::vector<std::string>& notes;
  int first_private_descriptor;  // as in NewbornContext
  int end_private_descriptor = std::numeric_limits<int>::max();
  // Where the remote caller lives in the newborn: its code and its scratch memory. Chosen so that it overlaps no area
  // of the image (occupied_ranges() of the memory room); it is never to be unmapped or mapped over and disappears just
  // before the program runs.
  RemoteRange reserved;
  // Its memory is that of an earlier process of the tree, which restores what belongs to that.
  bool has_anothers_memory = false;
  // The reserved ranges of other newborns that have the same memory, until each of them is given its registers.
  std::vector<RemoteRange> homes_beside = {};
  // Where the newborn has inherited the memory that it shares with other processes of the tree, outside of all that the
  // image occupies; empty if it shares none.
  RemoteRange inherited = {};
  // Threads by their id in the image, once they exist. With fresh ids the values' tids differ from the keys.
  std::map<pid_t, RemoteCaller*> threads;
  std::map<pid_t, pid_t> new_ids;           // image thread id -> the id that the restarted program sees
  std::uint32_t process = 0;                // index in image::Tree
  bool parent_ends = false;                 // before it runs
  std::span<const pid_t> process_ids = {};  // as in CheckContext
  std::set<int> armed_timers = {};          // POSIX timers that need not be armed any more
};

}  // namespace crs::engine
