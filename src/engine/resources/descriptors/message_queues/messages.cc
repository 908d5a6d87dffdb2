#include "engine/resources/descriptors/message_queues/messages.h"

#include <fcntl.h>
#include <mqueue.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "engine/procfs/text.h"
#include "engine/resources/descriptors/outsiders.h"

namespace crs::engine {
namespace {

// Of a queue in which there is no place for what was taken from it: somebody else sends.
constexpr std::time_t kSecondsForPuttingBack = 60;

mq_attr limits_of(int queue) {
  mq_attr attributes{};
  if (::mq_getattr(queue, &attributes) != 0) fail_errno(errno, "cannot ask a POSIX message queue");
  return attributes;
}

// The first of them, without waiting for one: the time limit has passed.
std::optional<image::PosixMessage> take_message(int queue, std::string& room) {
  constexpr timespec kPassed{};
  while (true) {
    unsigned priority = 0;
    const ssize_t size = ::mq_timedreceive(queue, room.data(), room.size(), &priority, &kPassed);
    if (size >= 0) {
      image::PosixMessage message;
      message.set_content(room.data(), static_cast<std::size_t>(size));
      message.set_priority(priority);
      return message;
    }
    if (errno == ETIMEDOUT) return std::nullopt;
    if (errno != EINTR) fail_errno(errno, "cannot take a message from a POSIX message queue");
  }
}

// No more than the queue can hold: whoever goes on sending does not make this go on.
image::PosixMessageQueue take_messages(int queue) {
  const mq_attr limits = limits_of(queue);
  std::string room(static_cast<std::size_t>(limits.mq_msgsize), '\0');
  image::PosixMessageQueue taken;
  for (long i = 0; i < limits.mq_maxmsg; ++i) {
    std::optional<image::PosixMessage> message = take_message(queue, room);
    if (!message) break;
    *taken.add_messages() = std::move(*message);
  }
  return taken;
}

void put_message(int queue, const image::PosixMessage& message) {
  timespec end{};
  ::clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += kSecondsForPuttingBack;
  const std::string& content = message.content();
  while (::mq_timedsend(queue, content.data(), content.size(), message.priority(), &end) != 0) {
    if (errno != EINTR) fail_errno(errno, "cannot put a message into a POSIX message queue");
  }
}

// Among messages of one priority the order is that in which they were sent.
void put_messages(int queue, const image::PosixMessageQueue& messages) {
  for (const image::PosixMessage& message : messages.messages()) put_message(queue, message);
}

std::string link_of(const char* path) {
  std::array<char, 512> target{};  // a name has at most NAME_MAX bytes
  const ssize_t length = ::readlink(path, target.data(), target.size());
  return {target.data(), static_cast<std::size_t>(std::max(length, ssize_t{0}))};
}

}  // namespace

FileDescriptor open_for_both(int queue) {
  return FileDescriptor(::open(fmt::format("/proc/self/fd/{}", queue).c_str(), O_RDWR | O_CLOEXEC));
}

// What reading the descriptor gives: mq_overview(7), "Mounting the message queue filesystem".
bool has_notification(int queue) {
  std::array<char, 256> text{};
  const ssize_t length = ::pread(queue, text.data(), text.size() - 1, 0);
  if (length < 0) return false;
  const std::string_view shown(text.data(), static_cast<std::size_t>(length));
  constexpr std::string_view kProcess = "NOTIFY_PID:";
  const std::size_t at = shown.find(kProcess);
  return at != std::string_view::npos && parse_number(words_of(shown.substr(at + kProcess.size())).front()) != 0;
}

pid_t find_other_user(std::span<const CapturedProcess> members, int queue) {
  struct stat own{};
  if (::fstat(queue, &own) != 0) fail_errno(errno, "cannot look at a POSIX message queue");
  const std::string name = link_of(fmt::format("/proc/self/fd/{}", queue).c_str());
  const std::vector<pid_t> found = find_outsiders(members, [&](pid_t pid) {
    bool has = false;
    for_each_open_link(pid, [&](const char* link) {
      struct stat its{};
      has = has ||
            (link_of(link) == name && ::stat(link, &its) == 0 && its.st_dev == own.st_dev && its.st_ino == own.st_ino);
    });
    return has;
  });
  return found.empty() ? 0 : found.front();
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
