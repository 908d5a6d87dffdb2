#include "engine/resources/descriptors/message_queues/message_queues.h"

#include <fcntl.h>
#include <mqueue.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <exception>
#include <span>
#include <utility>

#include "base/error.h"
#include "engine/procfs/other_names.h"
#include "engine/resources/descriptors/message_queues/messages.h"
#include "engine/tracee/done_to_the_end.h"

namespace crs::engine {
namespace {

constexpr long kFileSystem = 0x19800202;  // MQUEUE_MAGIC

mq_attr attributes_now(int queue) {
  mq_attr attributes{};
  if (::mq_getattr(queue, &attributes) != 0) fail_errno(errno, "cannot ask a POSIX message queue");
  return attributes;
}

// Of a queue that stands, by its permissions alone.
bool may_be_opened(const Seen& seen) {
  const int access = (seen.reads() ? R_OK : 0) | (seen.writes() ? W_OK : 0);
  const std::string place = fmt::format("/proc/self/fd/{}", seen.copy.get());
  return ::faccessat(AT_FDCWD, place.c_str(), access, AT_EACCESS) == 0 || (errno != EACCES && errno != EPERM);
}

mq_attr limits_in(const image::PosixMessageQueue& queue) {
  mq_attr attributes{};
  attributes.mq_maxmsg = queue.most_messages();
  attributes.mq_msgsize = queue.message_size();
  return attributes;
}

FileDescriptor open_queue(const std::string& name, int flags, const image::PosixMessageQueue& queue) {
  mq_attr attributes = limits_in(queue);
  return FileDescriptor(::mq_open(name.c_str(), flags | O_CLOEXEC, mode_t{0600}, &attributes));
}

// Of a queue without a name: one that nobody has.
FileDescriptor make_nameless(int access, const image::PosixMessageQueue& queue) {
  for (int number = 0;; ++number) {
    const std::string name = fmt::format("/crs-{}-{}", ::getpid(), number);
    FileDescriptor made = open_queue(name, access | O_CREAT | O_EXCL, queue);
    if (!made && errno == EEXIST) continue;
    const int problem = errno;
    if (made) ::mq_unlink(name.c_str());
    errno = problem;
    return made;
  }
}

// Why what is in a queue cannot be taken out and put back, or "".
std::string obstacle_to_taking(const TableCapture& table, const FileDescriptor& both) {
  if (!both) return "its permissions do not let this user do that";
  if (has_notification(both.get())) return "somebody would be told (mq_notify)";
  const pid_t other = find_other_user(table.processes, both.get());
  return other == 0 ? "" : fmt::format("process {}, which is not in the snapshot, has it open, too", other);
}

// What is said of each queue is a message of the whole; its priority tells whether that is what is in the queue, or why
// it cannot be had.
constexpr unsigned kCopyFollows = 0;
constexpr unsigned kObstacleFollows = 1;

image::PosixMessage copy_or_obstacle(int queue) {
  image::PosixMessage said;
  try {
    said.set_content(copy_messages(queue).SerializeAsString());
    said.set_priority(kCopyFollows);
  } catch (const std::exception& problem) {
    said.set_content(problem.what());
    said.set_priority(kObstacleFollows);
  }
  return said;
}

std::string copy_queues(std::span<const FileDescriptor> queues) {
  image::PosixMessageQueue all;
  for (const FileDescriptor& queue : queues) *all.add_messages() = copy_or_obstacle(queue.get());
  return all.SerializeAsString();
}

bool can_hold_its_messages(const image::PosixMessageQueue& queue) {
  return queue.messages_size() <= queue.most_messages() &&
         std::ranges::all_of(queue.messages(), [&](const image::PosixMessage& message) {
           return message.content().size() <= static_cast<std::size_t>(queue.message_size()) &&
                  message.priority() < MQ_PRIO_MAX;
         });
}

// What is in it now would be taken from whoever has it open. Asked where all processes of this user are to be seen;
// where the restart makes an IPC namespace, the queue of that name is another one, which does not matter to anybody.
void expect_no_other_user(const image::PosixMessageQueue& queue) {
  const FileDescriptor opened(::mq_open(queue.name().c_str(), O_RDONLY | O_CLOEXEC));
  const pid_t other = opened ? find_other_user({}, opened.get()) : 0;
  if (other == 0) return;
  throw Error(ErrorKind::Failed, fmt::format("the POSIX message queue {} is to have its {} messages again, but process "
                                             "{} has it open",
                                             queue.name(), queue.messages_size(), other))
      .advise("End that process first, or remove the queue (mq_unlink, or rm where its file system is mounted)");
}

// Of one with messages in the snapshot, what is in it now is what the program left when it ended, or was sent to it
// since.
void check_standing_queue(const TableRestore& table, const image::PosixMessageQueue& queue, int opened) {
  const std::string& name = queue.name();
  const mq_attr attributes = attributes_now(opened);
  if (attributes.mq_maxmsg != queue.most_messages() || attributes.mq_msgsize != queue.message_size())
    fail(ErrorKind::Failed, "the POSIX message queue {} is another one: its limits are others", name);
  if (queue.messages().empty()) {
    if (attributes.mq_curmsgs != 0)
      table.context.notes.push_back(
          fmt::format("the POSIX message queue {} was empty and has {} messages now", name, attributes.mq_curmsgs));
    return;
  }
  if (attributes.mq_curmsgs != queue.messages_size())
    table.context.notes.push_back(
        fmt::format("the POSIX message queue {} had {} messages, and has the {} of the snapshot", name,
                    attributes.mq_curmsgs, queue.messages_size()));
}

}  // namespace

bool MessageQueueKind::recognises(const TableCapture& /*table*/, const Seen& seen) {
  struct statfs system{};
  return S_ISREG(seen.status.st_mode) && !seen.is_path_only() && ::fstatfs(seen.copy.get(), &system) == 0 &&
         system.f_type == kFileSystem;
}

void MessageQueueKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  constexpr std::uint32_t kRights = 0777;
  const mq_attr attributes = attributes_now(seen.copy.get());
  if (attributes.mq_curmsgs == 0 && has_notification(seen.copy.get()))
    return table.refuse(seen, fmt::format("a POSIX message queue with a notification (mq_notify): {}", seen.link));
  image::PosixMessageQueue& queue = *description.mutable_message_queue();
  if (!seen.link.ends_with(kDeleted)) queue.set_name(seen.link.substr(seen.link.find_last_of('/')));
  if (!queue.name().empty() && !may_be_opened(seen)) {
    table.lack(seen,
               fmt::format("the POSIX message queue {}, which its permissions do not let this user open", queue.name()),
               "let its owner or root chmod it, or restart as root");
  }
  queue.set_mode(seen.status.st_mode & kRights);
  queue.set_most_messages(attributes.mq_maxmsg);
  queue.set_message_size(attributes.mq_msgsize);
  queue.set_inode(seen.status.st_ino);
  if (attributes.mq_curmsgs != 0) capture_messages(table, seen, queue);
}

// Of all queues at once.
void MessageQueueKind::copy_all(const TableCapture& table) {
  waiting_.emplace();
  std::vector<FileDescriptor> queues;
  std::vector<Waiting*> places;
  for (const Seen& seen : table.seen) {
    const bool is_filled = recognises(table, seen) && attributes_now(seen.copy.get()).mq_curmsgs != 0;
    if (!is_filled || waiting_->contains(seen.status.st_ino)) continue;
    Waiting& waiting = (*waiting_)[seen.status.st_ino];
    FileDescriptor both = open_for_both(seen.copy.get());
    waiting.obstacle = obstacle_to_taking(table, both);
    if (!waiting.obstacle.empty()) continue;
    queues.push_back(std::move(both));
    places.push_back(&waiting);
  }
  if (queues.empty()) return;
  try {
    image::PosixMessageQueue all;
    const std::string said = done_to_the_end([&] { return copy_queues(queues); });
    if (!all.ParseFromString(said) || all.messages_size() != static_cast<int>(places.size()))
      fail(ErrorKind::Failed, "what is in POSIX message queues cannot be understood");
    for (int i = 0; i < all.messages_size(); ++i) places[static_cast<std::size_t>(i)]->take(all.messages(i));
  } catch (const Error& error) {
    for (Waiting* const place : places) place->obstacle = error.what();
  }
}

void MessageQueueKind::Waiting::take(const image::PosixMessage& said) {
  if (said.priority() == kCopyFollows && copied.ParseFromString(said.content())) return;
  obstacle = said.priority() == kObstacleFollows ? said.content() : "what is in it cannot be understood";
}

void MessageQueueKind::capture_messages(TableCapture& table, const Seen& seen, image::PosixMessageQueue& queue) {
  if (!waiting_) copy_all(table);
  Waiting& waiting = (*waiting_)[seen.status.st_ino];
  if (!waiting.obstacle.empty()) {
    return table.refuse(seen, fmt::format("a POSIX message queue with messages, which only taking them shows; they "
                                          "cannot be put back: {}: {}",
                                          waiting.obstacle, seen.link));
  }
  queue.mutable_messages()->Swap(waiting.copied.mutable_messages());
}

void MessageQueueKind::check(TableCheck& /*table*/, const Description& description) {
  constexpr std::uint32_t kRights = 0777;
  const image::PosixMessageQueue& queue = description.message_queue();
  const std::string& name = queue.name();
  const bool named =
      name.size() > 1 && name.size() <= NAME_MAX && name.find_last_of('/') == 0 && name.find('\0') == std::string::npos;
  if ((!name.empty() && !named) || queue.mode() > kRights || queue.most_messages() <= 0 || queue.message_size() <= 0 ||
      !can_hold_its_messages(queue))
    fail(ErrorKind::Damaged, "the snapshot has a POSIX message queue that cannot be");
  if (!name.empty() && !queue.messages().empty()) expect_no_other_user(queue);
}

// Later descriptions of a queue are opened like the first: it may have no name, or be one that has just been made.
FileDescriptor MessageQueueKind::open(TableRestore& table, const Description& description) {
  const image::PosixMessageQueue& queue = description.message_queue();
  const auto known = std::ranges::find_if(
      opened_, [&](const Opened& one) { return queue.inode() != 0 && one.queue->inode() == queue.inode(); });
  if (known != opened_.end()) return reopen(known->own.get(), description.status_flags());
  return open_first(table, queue, static_cast<int>(description.status_flags()) & O_ACCMODE);
}

FileDescriptor MessageQueueKind::open_first(TableRestore& table, const image::PosixMessageQueue& queue, int access) {
  const std::string& name = queue.name();
  FileDescriptor opened = name.empty() ? make_nameless(access, queue) : open_queue(name, access, queue);
  const bool missing = !opened && errno == ENOENT && !name.empty();
  if (missing) opened = open_queue(name, access | O_CREAT | O_EXCL, queue);
  if (!opened) {
    throw Error::from_errno(fmt::format("cannot open the POSIX message queue {}", name), errno)
        .advise("See /proc/sys/fs/mqueue and ulimit -q for the limits");
  }
  const bool is_new = missing || name.empty();
  if (!is_new) check_standing_queue(table, queue, opened.get());
  FileDescriptor own = table.aside(FileDescriptor(::fcntl(opened.get(), F_DUPFD_CLOEXEC, 0)));
  opened_.push_back({.queue = &queue, .own = std::move(own), .is_new = is_new});
  return opened;
}

// As late as possible: what a queue that stands had in it is lost.
void MessageQueueKind::complete(TableRestore& /*table*/) {
  for (const Opened& one : opened_) {
    const bool is_to_be_filled = one.queue->messages_size() != 0;
    if (is_to_be_filled) {
      const FileDescriptor both = open_for_both(one.own.get());
      if (!both) fail_errno(errno, "cannot put its messages into the POSIX message queue {}", one.queue->name());
      replace_messages(both.get(), *one.queue);
    }
    if (one.is_new) static_cast<void>(!::fchmod(one.own.get(), one.queue->mode()));
  }
  opened_.clear();
}

}  // namespace crs::engine
