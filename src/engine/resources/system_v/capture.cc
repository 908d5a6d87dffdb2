#include <fmt/format.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <span>

#include "base/error.h"
#include "base/io.h"
#include "engine/pages/page_runs.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"
#include "engine/resources/system_v/objects.h"
#include "engine/resources/system_v/system_v.h"
#include "engine/tracee/serialised.h"

namespace crs::engine {
namespace {

// What the processes of the tree have of a segment.
struct Attachment {
  std::uint64_t areas = 0;
  PageRuns parts;  // offsets in it
  std::uint64_t huge_page_bytes = 0;

  void add(RemoteRange part) {
    ++areas;
    parts.push_back(part);
  }
  bool covers(std::uint64_t size) {
    std::ranges::sort(parts, {}, &RemoteRange::start);
    RemoteAddress end;
    for (const RemoteRange& part : parts) {
      if (part.start > end) return false;
      end = std::max(end, part.end);
    }
    return end.value >= size;
  }
};

std::map<int, Attachment> attachments_of(const image::Tree& image) {
  std::map<int, Attachment> attachments;
  for (const image::Process& process : image.processes()) {
    for (const image::Area& area : process.memory().areas()) {
      if (area.kind() != image::Area::SHARED_MEMORY) continue;
      const image::SharedMemory& memory = process.memory().shared(static_cast<int>(area.backing()));
      if (!memory.has_segment()) continue;
      Attachment& attachment = attachments[memory.segment()];
      attachment.add({{area.offset()}, {area.offset() + (area.end() - area.start())}});
      attachment.huge_page_bytes = memory.huge_page_bytes();
    }
  }
  return attachments;
}

// What threads wait for in semop(2), semtimedop(2), msgsnd(2) and msgrcv(2), by their ids.
struct WaitedFor {
  std::set<int> semaphores;
  std::set<int> queues;

  explicit WaitedFor(const image::Tree& image) {
    for (const image::Process& process : image.processes()) {
      for (const image::Thread& thread : process.threads().threads()) add(thread);
    }
  }

 private:
  void add(const image::Thread& thread) {
    user_regs_struct registers{};
    if (thread.registers().size() != sizeof registers) return;  // it has ended, or was only looked at
    std::memcpy(&registers, thread.registers().data(), sizeof registers);
    // In the call, or just before it is made again.
    const auto interrupted = static_cast<long>(registers.orig_rax);
    const long call = interrupted >= 0 ? interrupted : static_cast<long>(registers.rax);
    if (call == SYS_semop || call == SYS_semtimedop) semaphores.insert(static_cast<int>(registers.rdi));
    if (call == SYS_msgsnd || call == SYS_msgrcv) queues.insert(static_cast<int>(registers.rdi));
  }
};

// The processes of the tree by what the kernel notes of them in an object: their ids as this process sees them.
class Members {
 public:
  explicit Members(std::span<const CapturedProcess> tree) {
    for (const CapturedProcess& process : tree) {
      started_[process.pid] = start_of(process.pid);
      const ProcessStatus status = ProcessStatus::of(process.pid);
      for (const std::uint64_t user : status.numbers("Uid")) users_.insert(static_cast<uid_t>(user));
    }
  }

  // Whether `pid` did something at `time` (0: then or before). An id is used again; what was done long before the
  // process began was done by another.
  bool did(pid_t pid, time_t time) const {
    constexpr time_t kClocksApart = 10;
    const auto member = started_.find(pid);
    return member != started_.end() && time + kClocksApart >= member->second;
  }
  // Whether one of them may have made at `time` what nobody has used since: who did the kernel does not say.
  bool may_have_made(time_t time) const {
    constexpr time_t kRounding = 2;
    return std::ranges::any_of(started_, [&](const auto& member) { return time + kRounding >= member.second; });
  }
  bool has_user(uid_t user) const { return users_.contains(user); }

 private:
  // proc_pid_stat(5): in clock ticks since the boot.
  static time_t start_of(pid_t pid) {
    constexpr int kStartTime = 22;
    timespec now{};
    timespec since_boot{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    ::clock_gettime(CLOCK_BOOTTIME, &since_boot);
    return now.tv_sec - since_boot.tv_sec + stat_number(pid, kStartTime) / ::sysconf(_SC_CLK_TCK);
  }

  std::map<pid_t, time_t> started_;
  std::set<uid_t> users_;
};

class SystemVCapture {
 public:
  SystemVCapture(CaptureContext& root, std::span<const CapturedProcess> tree, image::Tree& image)
      : root_(root),
        tree_(tree),
        image_(*image.mutable_system_v()),
        attachments_(attachments_of(image)),
        waited_for_(image),
        own_namespace_(!is_in_own_ipc_namespace(root.pid)) {}

  void run() {
    capture_segments();
    for (const FoundSemaphores& found : find(find_semaphores)) capture_semaphores(found);
    for (const FoundQueue& found : find(find_queues)) capture_queue(found);
    if (has_objects(image_)) image_.set_boot(read_file("/proc/sys/kernel/random/boot_id"));
  }

 private:
  std::string visit(const std::function<std::string()>& action) const {
    return in_ipc_namespace_of(root_.pid, root_.pidfd, action);
  }

  template <typename Found>
  std::vector<Found> find(std::vector<Found> (*look)()) {
    return all_of<Found>(look);
  }

  // Carried over from the process that looks.
  template <typename Found>
  std::vector<Found> all_of(const std::function<std::vector<Found>()>& look) {
    const std::string bytes = visit([&] {
      const std::vector<Found> found = look();
      return std::string(reinterpret_cast<const char*>(found.data()), found.size() * sizeof(Found));
    });
    std::vector<Found> found(bytes.size() / sizeof(Found));
    const auto place = std::as_writable_bytes(std::span(found));
    std::ranges::copy(std::as_bytes(std::span(bytes)).first(place.size()), place.begin());
    return found;
  }

  const Members& members() {
    if (!members_) members_.emplace(tree_);
    return *members_;
  }

  void capture_segments() {
    for (const FoundSegment& found : find(find_segments)) {
      const auto attached = attachments_.find(found.id);
      if (attached == attachments_.end() && !belongs(found)) continue;
      Attachment nothing;
      capture_segment(found, attached == attachments_.end() ? nothing : attached->second);
      if (attached != attachments_.end()) attachments_.erase(attached);
    }
    for (const auto& [id, attachment] : attachments_) {
      root_.refusals.add(
          fmt::format("a process has System V {} {} attached, which is not in its IPC namespace", kSegmentName, id),
          "let it detach it first");
    }
  }

  bool belongs(const FoundSegment& found) {
    if (own_namespace_) return true;
    const shmid_ds& state = found.state;
    if (!members().has_user(state.shm_perm.uid)) return false;
    return members().did(state.shm_cpid, state.shm_ctime) ||
           members().did(state.shm_lpid, std::max(state.shm_atime, state.shm_dtime));
  }

  void capture_segment(const FoundSegment& found, Attachment& attachment) {
    image::SharedSegment& segment = *image_.add_segments();
    record_object(found.id, found.state.shm_perm, *segment.mutable_object());
    segment.set_size(found.state.shm_segsz);
    segment.set_removed((found.state.shm_perm.mode & SHM_DEST) != 0);
    segment.set_locked((found.state.shm_perm.mode & SHM_LOCKED) != 0);
    segment.set_huge_page_bytes(attachment.areas > 0 ? attachment.huge_page_bytes : pages_of(found.id));
    if (segment.huge_page_bytes() != 0 || !attachment.covers(segment.size())) keep_content(segment);
    if (found.state.shm_nattch <= attachment.areas) return;
    root_.warnings.push_back(
        fmt::format("{} is attached by other processes, too: a restarted program does not share it with them",
                    name_of_object(kSegmentName, segment.object())));
  }

  // Of a segment that nobody has attached. Where it may not be attached, keep_content() says so.
  std::uint64_t pages_of(int id) const {
    if (!root_.content.keeps()) return 0;
    const std::string answer = visit([&] { return std::to_string(huge_page_bytes_of_segment(id).value_or(0)); });
    return std::strtoull(answer.c_str(), nullptr, 10);
  }

  void capture_semaphores(const FoundSemaphores& found) {
    const semid_ds& state = found.state;
    const bool waits = waited_for_.semaphores.contains(found.id);
    if (!own_namespace_ && !waits && !members().has_user(state.sem_perm.uid)) return;
    image::SemaphoreSet set;
    record_object(found.id, state.sem_perm, *set.mutable_object());
    try {
      bool used = own_namespace_;
      bool by_anybody = false;
      for (const SemaphoreState& one : all_of<SemaphoreState>([&] { return look_at_semaphores(found); })) {
        used = used || members().did(one.last_process, std::max(state.sem_otime, state.sem_ctime));
        by_anybody = by_anybody || one.last_process != 0;
        image::Semaphore& semaphore = *set.add_semaphores();
        semaphore.set_value(static_cast<std::uint32_t>(one.value));
        semaphore.set_last_process(own_id_of(one.last_process));
      }
      if (!used && waits) set.mutable_object()->set_awaited(true);
      if (!used && !waits && !by_anybody && members().may_have_made(state.sem_ctime))
        warn_of_unused(kSemaphoresName, set.object());
      if (used || waits) *image_.add_semaphores() = set;
    } catch (const Error& error) {
      // Elsewhere it cannot be told whether it is the tree's.
      if (own_namespace_) root_.refusals.add(error.what(), "let the program remove it first");
    }
  }

  pid_t own_id_of(pid_t pid) const {
    const auto member = std::ranges::find(tree_, pid, &CapturedProcess::pid);
    return member == tree_.end() ? 0 : member->own_pid;
  }

  // It may be another program's as well.
  void warn_of_unused(std::string_view kind, const image::SystemVObject& object) const {
    root_.warnings.push_back(fmt::format(
        "{} was made while the program ran, and nobody has used it yet: the kernel does not say whether it is "
        "the program's, and it is not in the snapshot",
        name_of_object(kind, object)));
  }

  bool belongs(int queue, const msqid_ds& state) {
    if (own_namespace_) return true;
    if (!members().has_user(state.msg_perm.uid)) return false;
    if (members().did(state.msg_lspid, state.msg_stime) || members().did(state.msg_lrpid, state.msg_rtime)) return true;
    const bool waits = waited_for_.queues.contains(queue);
    if (!waits && state.msg_stime == 0 && state.msg_rtime == 0 && members().may_have_made(state.msg_ctime)) {
      image::SystemVObject unused;
      record_object(queue, state.msg_perm, unused);
      warn_of_unused(kQueueName, unused);
    }
    return false;
  }

  void capture_queue(const FoundQueue& found) {
    const msqid_ds& state = found.state;
    const bool belongs_to_tree = belongs(found.id, state);
    if (!belongs_to_tree && !waited_for_.queues.contains(found.id)) return;
    image::MessageQueue& queue = *image_.add_queues();
    record_object(found.id, state.msg_perm, *queue.mutable_object());
    queue.mutable_object()->set_awaited(!belongs_to_tree);
    queue.set_most_bytes(state.msg_qbytes);
    try {
      image::MessageQueue content;
      const std::string bytes = visit([&] {
        copy_messages(found, content);
        return serialised(content, "what is in it");
      });
      if (!content.ParseFromString(bytes)) fail(ErrorKind::Failed, "what is in it cannot be understood");
      queue.mutable_messages()->Swap(content.mutable_messages());
    } catch (const Error& error) {
      root_.refusals.add(fmt::format("{}: {}", name_of_object(kQueueName, queue.object()), error.what()),
                         "let the program empty it first");
    }
  }

  void keep_content(image::SharedSegment& segment) {
    if (!root_.content.keeps() && segment.huge_page_bytes() == 0) return;
    const int id = segment.object().id();
    try {
      if (!root_.content.keeps()) {
        visit([&] {
          check_segment_can_be_seen(id);
          return std::string();
        });
        return;
      }
      auto [name, file] = root_.content.create();
      visit([&, to = file.get()] {
        copy_segment(id, segment.size(), to);
        return std::string();
      });
      segment.set_content(name);
    } catch (const Error& error) {
      root_.refusals.add(
          fmt::format("{} cannot be read: {}", name_of_object(kSegmentName, segment.object()), error.what()),
          segment.huge_page_bytes() != 0 ? "take the snapshot as root, or let the program remove it"
                                         : "let the program attach all of it or remove it");
    }
  }

  CaptureContext& root_;
  std::span<const CapturedProcess> tree_;
  image::SystemV& image_;
  std::map<int, Attachment> attachments_;
  WaitedFor waited_for_;
  bool own_namespace_;
  std::optional<Members> members_;
};

}  // namespace

void capture_system_v(CaptureContext& root, std::span<const CapturedProcess> tree, image::Tree& image) {
  SystemVCapture(root, tree, image).run();
}

bool has_objects(const image::SystemV& image) {
  return !image.segments().empty() || !image.semaphores().empty() || !image.queues().empty();
}

}  // namespace crs::engine
