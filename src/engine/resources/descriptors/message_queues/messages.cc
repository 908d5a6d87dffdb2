#include "engine/resources/descriptors/message_queues/messages.h"

#include <fcntl.h>
#include <mqueue.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <ctime>
#include <map>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "engine/procfs/status.h"
#include "engine/procfs/text.h"
#include "engine/resources/descriptors/outsiders.h"

namespace crs::engine {
namespace {

// For all that is put back into one queue: it has place, unless somebody else sends.
constexpr int kSecondsForPuttingBack = 3;

using Clock = std::chrono::steady_clock;

mq_attr limits_of(int queue) {
  mq_attr attributes{};
  if (::mq_getattr(queue, &attributes) != 0) fail_errno(errno, "cannot ask a POSIX message queue");
  return attributes;
}

// One more place in `taken`, which is given up unless a message comes into it: what is received must have room already.
class Place {
 public:
  Place(image::PosixMessageQueue& taken, long most) : taken_(taken), message_(*taken.add_messages()) {
    try {
      message_.mutable_content()->resize(static_cast<std::size_t>(most));
    } catch (...) {
      taken_.mutable_messages()->RemoveLast();
      throw;
    }
  }
  ~Place() {
    if (!is_filled_) taken_.mutable_messages()->RemoveLast();
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  std::string& room() { return *message_.mutable_content(); }
  void fill(ssize_t size, unsigned priority) {
    is_filled_ = true;
    message_.set_priority(priority);
    room().resize(static_cast<std::size_t>(size));
    room().shrink_to_fit();
  }

 private:
  image::PosixMessageQueue& taken_;
  image::PosixMessage& message_;
  bool is_filled_ = false;
};

// The first of them, without waiting for one: the time limit has passed. False: there is none.
bool take_message(int queue, long most, image::PosixMessageQueue& taken) {
  constexpr timespec kPassed{};
  Place place(taken, most);
  while (true) {
    unsigned priority = 0;
    const ssize_t size = ::mq_timedreceive(queue, place.room().data(), place.room().size(), &priority, &kPassed);
    if (size >= 0) return place.fill(size, priority), true;
    if (errno == ETIMEDOUT) return false;
    if (errno != EINTR) fail_errno(errno, "cannot take a message from a POSIX message queue");
  }
}

// 0, or the errno for which it is not in the queue again. The clock of mq_timedsend(3) may be set back meanwhile; and
// for want of kernel memory it is tried again (ENOMEM), as for want of room.
int put_message(int queue, const image::PosixMessage& message, Clock::time_point end) {
  const std::string& content = message.content();
  while (true) {
    timespec soon{};
    ::clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_sec += kSecondsForPuttingBack;
    if (::mq_timedsend(queue, content.data(), content.size(), message.priority(), &soon) == 0) return 0;
    const int problem = errno;
    if ((problem != EINTR && problem != ENOMEM) || Clock::now() > end) return problem;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Among messages of one priority the order is that in which they were sent. What does not fit is passed over: what
// comes later may.
void put_messages(int queue, const image::PosixMessageQueue& messages) {
  const auto end = Clock::now() + std::chrono::seconds(kSecondsForPuttingBack);
  int lost = 0;
  int first_problem = 0;
  for (const image::PosixMessage& message : messages.messages()) {
    const bool may_try = lost == 0 || Clock::now() <= end;
    const int problem = may_try ? put_message(queue, message, end) : ETIMEDOUT;
    if (problem == 0) continue;
    if (lost++ == 0) first_problem = problem;
  }
  if (lost == 0) return;
  const std::string why = first_problem == ETIMEDOUT ? "somebody else sends there" : std::strerror(first_problem);
  fail(ErrorKind::Failed, "{} of its {} messages could not be put back and are lost: {}", lost,
       messages.messages_size(), why);
}

// Who waits for room in a full queue sends as soon as the first message is taken: then that one alone is in danger.
void take_each(int queue, image::PosixMessageQueue& taken) {
  const mq_attr limits = limits_of(queue);
  for (long i = 0; i < limits.mq_maxmsg; ++i) {
    if (!take_message(queue, limits.mq_msgsize, taken)) return;
    if (i != 0 || limits.mq_curmsgs != limits.mq_maxmsg) continue;
    if (limits_of(queue).mq_curmsgs == limits.mq_maxmsg) fail(ErrorKind::Failed, "somebody waits for room in it");
  }
}

image::PosixMessageQueue take_messages(int queue) {
  image::PosixMessageQueue taken;
  try {
    take_each(queue, taken);
  } catch (...) {
    put_messages(queue, taken);
    throw;
  }
  return taken;
}

std::string link_of(const char* path) {
  std::array<char, PATH_MAX> target{};
  const ssize_t length = ::readlink(path, target.data(), target.size());
  return {target.data(), static_cast<std::size_t>(std::max(length, ssize_t{0}))};
}

// As mq_open(3) shows it, or with the directory where the file system is mounted, which has no directories of its own.
std::string last_name(std::string_view path) { return std::string(path.substr(path.find_last_of('/') + 1)); }

struct Sought {
  struct stat status{};
  std::string name;
};

Sought sought(int queue) {
  Sought result;
  if (::fstat(queue, &result.status) != 0) fail_errno(errno, "cannot look at a POSIX message queue");
  result.name = last_name(link_of(fmt::format("/proc/self/fd/{}", queue).c_str()));
  return result;
}

bool leads_to(const char* link, const std::string& name, const Sought& queue) {
  struct stat its{};
  return name == queue.name && ::stat(link, &its) == 0 && its.st_dev == queue.status.st_dev &&
         its.st_ino == queue.status.st_ino;
}

// By the permissions of the queue, where it has a name. Root and this user, whose processes may hide what they have
// open (prctl(2), PR_SET_DUMPABLE), may always, and are trusted to stay out of it.
bool may_open(const ProcessStatus& process, const struct stat& queue) {
  const auto user = process.numbers("Uid").at(1);
  if (user == 0 || user == ::geteuid() || queue.st_nlink == 0) return false;
  if (user == queue.st_uid) return (queue.st_mode & (S_IRUSR | S_IWUSR)) != 0;
  const bool is_of_group = process.numbers("Gid").at(1) == queue.st_gid ||
                           std::ranges::count(process.numbers("Groups"), std::uint64_t{queue.st_gid}) != 0;
  return (queue.st_mode & (is_of_group ? S_IRGRP | S_IWGRP : S_IROTH | S_IWOTH)) != 0;
}

using Found = std::map<std::size_t, QueueUser>;  // by the queue's index

Found queues_of(pid_t pid, std::span<const Sought> queues) {
  Found found;
  const bool may_see = for_each_open_link(pid, [&](const char* link) {
    const std::string name = last_name(link_of(link));
    for (std::size_t i = 0; i < queues.size(); ++i) {
      if (leads_to(link, name, queues[i])) found[i] = {pid, true};
    }
  });
  if (may_see) return found;
  const ProcessStatus status = ProcessStatus::of(pid);
  for (std::size_t i = 0; i < queues.size(); ++i) {
    if (may_open(status, queues[i].status)) found[i] = {pid, false};
  }
  return found;
}

// What reading the descriptor gives: mq_overview(7), "Mounting the message queue file system".
std::uint64_t shown_number(int queue, std::string_view name) {
  std::array<char, 256> text{};
  const ssize_t length = ::pread(queue, text.data(), text.size() - 1, 0);
  if (length < 0) return 0;
  const std::string_view shown(text.data(), static_cast<std::size_t>(length));
  const std::size_t at = shown.find(name);
  if (at == std::string_view::npos) return 0;
  const std::vector<std::string_view> words = words_of(shown.substr(at + name.size()));
  return words.empty() ? 0 : parse_number(words.front()).value_or(0);
}

}  // namespace

FileDescriptor open_for_both(int queue) {
  return FileDescriptor(::open(fmt::format("/proc/self/fd/{}", queue).c_str(), O_RDWR | O_CLOEXEC));
}

// The process is 0 where it is none of this process id namespace.
bool has_notification(int queue) {
  return shown_number(queue, "NOTIFY:") != 0 || shown_number(queue, "SIGNO:") != 0 ||
         shown_number(queue, "NOTIFY_PID:") != 0;
}

std::uint64_t bytes_in(int queue) { return shown_number(queue, "QSIZE:"); }

std::vector<QueueUser> find_other_users(std::span<const CapturedProcess> members, std::span<const int> queues) {
  std::vector<Sought> all;
  for (const int queue : queues) all.push_back(sought(queue));
  std::map<pid_t, Found> seen;
  const auto has_any = [&](pid_t pid) { return !(seen[pid] = queues_of(pid, all)).empty(); };
  std::vector<QueueUser> users(queues.size());
  for (const pid_t pid : find_outsiders(members, has_any)) {
    for (const auto& [index, user] : seen[pid]) users[index] = user;
  }
  return users;
}

image::PosixMessageQueue copy_messages(int queue) {
  image::PosixMessageQueue taken = take_messages(queue);
  put_messages(queue, taken);
  return taken;
}

void replace_messages(int queue, const image::PosixMessageQueue& messages) {
  take_messages(queue);
  put_messages(queue, messages);
}

}  // namespace crs::engine
