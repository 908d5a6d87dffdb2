#include "engine/resources/descriptors/message_queues/message_queues.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <mqueue.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <exception>
#include <span>
#include <utility>

#include "base/error.h"
#include "engine/procfs/other_names.h"
#include "engine/resources/descriptors/message_queues/messages.h"
#include "engine/resources/system_v/objects.h"
#include "engine/tracee/serialised.h"

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

// It is closed on execution in any case; F_GETFL would show O_CLOEXEC.
FileDescriptor open_queue(const std::string& name, int flags, const image::PosixMessageQueue& queue) {
  mq_attr attributes = limits_in(queue);
  return FileDescriptor(::mq_open(name.c_str(), flags, mode_t{0600}, &attributes));
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

// Another description of a queue without a name, without the O_LARGEFILE of open(2), which F_GETFL would show.
FileDescriptor open_another(int queue, int access) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(access);
  const std::string path = fmt::format("/proc/self/fd/{}", queue);
  FileDescriptor opened(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
  if (!opened && (errno == ENOSYS || errno == EPERM))
    opened = FileDescriptor(::open(path.c_str(), access));  // a filter
  if (!opened) fail_errno(errno, "cannot open a POSIX message queue without a name once more");
  return opened;
}

// What can be tested without taking anything. More than this is nothing to copy while the program stands still.
constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20U;

std::string obstacle_in(const FileDescriptor& both, int problem, std::uint64_t& bytes) {
  if (!both && (problem == EMFILE || problem == ENFILE || problem == ENOMEM))
    fail_errno(problem, "cannot open a POSIX message queue once more");
  if (!both && (problem == EACCES || problem == EPERM)) return "its permissions do not let this user do that";
  if (!both) return std::strerror(problem);
  if (has_notification(both.get())) return "somebody would be told (mq_notify)";
  bytes += bytes_in(both.get());
  return bytes > kMostBytes ? "there are more than 64 MiB in the program's queues" : "";
}

std::string obstacle_by(const QueueUser& user) {
  if (user.pid == 0) return "";
  return user.is_seen ? fmt::format("process {}, which is not in the snapshot, has it open, too", user.pid)
                      : fmt::format(
                            "process {} of another user, whose descriptors this one does not see, may have it "
                            "open by its permissions",
                            user.pid);
}

bool can_hold_its_messages(const image::PosixMessageQueue& queue) {
  return queue.messages_size() <= queue.most_messages() &&
         std::ranges::all_of(queue.messages(), [&](const image::PosixMessage& message) {
           return message.content().size() <= static_cast<std::size_t>(queue.message_size()) &&
                  message.priority() < MQ_PRIO_MAX;
         });
}

// As which it may be had again: made by the program's user or by whoever restarts it. In a user namespace those of
// others have no other number.
bool is_of_others(const image::PosixMessageQueue& queue, const struct stat& status) {
  constexpr uid_t kUserOfOthers = 65534;
  return status.st_uid != queue.owner() && status.st_uid != ::geteuid() && status.st_uid != kUserOfOthers;
}

// What is in it now is what the program left when it ended, or was sent to it since.
void look_at_standing_queue(const TableRestore& table, const image::PosixMessageQueue& queue, int opened) {
  const std::string& name = queue.name();
  const mq_attr attributes = attributes_now(opened);
  struct stat status{};
  if (::fstat(opened, &status) != 0) fail_errno(errno, "cannot look at the POSIX message queue {}", name);
  if (is_of_others(queue, status)) {  // since check_message_queues(), if the snapshot has messages for it
    if (!queue.messages().empty())
      fail(ErrorKind::Failed, "the POSIX message queue {} belongs to user {} now", name, status.st_uid);
    table.context.notes.push_back(
        fmt::format("the POSIX message queue {} belongs to user {} now", name, status.st_uid));
  }
  if (attributes.mq_maxmsg != queue.most_messages() || attributes.mq_msgsize != queue.message_size())
    fail(ErrorKind::Failed, "the POSIX message queue {} is another one: its limits are others", name);
  if (attributes.mq_curmsgs == queue.messages_size()) return;
  const std::string now = queue.messages().empty()
                              ? fmt::format("was empty and has {} messages now", attributes.mq_curmsgs)
                              : fmt::format("had {} messages, and has the {} of the snapshot", attributes.mq_curmsgs,
                                            queue.messages_size());
  table.context.notes.push_back(fmt::format("the POSIX message queue {} {}", name, now));
}

// Whether the name of a queue that the program has leads elsewhere in the program's IPC namespace.
bool is_of_other_namespace(const CaptureContext& context, const Seen& seen, const image::PosixMessageQueue& queue) {
  const std::string found = in_ipc_namespace_of(context.pid, context.pidfd, [&]() -> std::string {
    const FileDescriptor named = open_queue(queue.name(), O_RDONLY, queue);
    struct stat status{};
    if (!named) return errno == ENOENT ? "another" : "";
    return ::fstat(named.get(), &status) == 0 && status.st_ino != seen.status.st_ino ? "another" : "";
  });
  return !found.empty();
}

[[noreturn]] void fail_to_open(const std::string& what, int problem) {
  throw Error::from_errno(fmt::format("cannot open {}", what), problem)
      .advise("See /proc/sys/fs/mqueue and ulimit -q for the limits");
}

void fill(int opened, const image::PosixMessageQueue& queue) {
  const FileDescriptor both = open_for_both(opened);
  if (!both) {
    throw Error::from_errno(fmt::format("cannot put its messages into the POSIX message queue {}", queue.name()), errno)
        .advise("If it is its permissions, chmod it where its file system is mounted, or restart as root");
  }
  in_context(fmt::format("POSIX message queue {}", queue.name()), [&] { replace_messages(both.get(), queue); });
}

std::uint32_t index_of(const image::Descriptors& image, const image::OpenDescription& description) {
  std::uint32_t index = 0;
  while (&image.descriptions(static_cast<int>(index)) != &description) ++index;
  return index;
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
  // By mq_open(3) or where the file system is mounted; a name may end like what is deleted.
  if (seen.status.st_nlink != 0) queue.set_name(seen.link.substr(seen.link.find_last_of('/')));
  if (!queue.name().empty() && !may_be_opened(seen)) {
    table.lack(seen,
               fmt::format("the POSIX message queue {}, which its permissions do not let this user open", queue.name()),
               "let its owner or root chmod it, or restart as root");
  }
  queue.set_mode(seen.status.st_mode & kRights);
  queue.set_most_messages(attributes.mq_maxmsg);
  queue.set_message_size(attributes.mq_msgsize);
  queue.set_inode(seen.status.st_ino);
  queue.set_owner(seen.status.st_uid);
  queue.set_group(seen.status.st_gid);
  queue.set_is_in_own_namespace(!is_in_own_ipc_namespace(table.context.pid));
  if (!queue.name().empty() && is_of_other_namespace(table.context, seen, queue))
    return table.refuse(seen, fmt::format("a POSIX message queue of another IPC namespace: {}", seen.link));
  if (attributes.mq_curmsgs != 0) expect_copied(table, seen, attributes.mq_curmsgs);
}

// Of all queues at once. A look takes nothing.
void MessageQueueKind::copy_all(const TableCapture& table) {
  waiting_.emplace();
  std::vector<Copied> candidates;
  std::uint64_t bytes = 0;
  for (const Seen& seen : table.seen) {
    const bool is_filled = recognises(table, seen) && attributes_now(seen.copy.get()).mq_curmsgs != 0;
    if (!is_filled || waiting_->contains(seen.status.st_ino)) continue;
    Waiting& waiting = (*waiting_)[seen.status.st_ino];
    FileDescriptor both = open_for_both(seen.copy.get());
    waiting.obstacle = obstacle_in(both, errno, bytes);
    if (waiting.obstacle.empty()) candidates.push_back({std::move(both), &waiting});
  }
  if (candidates.empty()) return;
  const std::vector<QueueUser> users = find_other_users(table.processes, numbers_of(candidates));
  for (std::size_t i = 0; i < users.size(); ++i) candidates[i].place->obstacle = obstacle_by(users[i]);
  std::erase_if(candidates, [](const Copied& one) { return !one.place->obstacle.empty(); });
  if (table.context.content.keeps() && !candidates.empty()) copy_from(candidates);
}

std::vector<int> MessageQueueKind::numbers_of(std::span<const Copied> queues) {
  std::vector<int> numbers;
  for (const Copied& one : queues) numbers.push_back(one.both.get());
  return numbers;
}

void MessageQueueKind::copy_from(std::span<const Copied> queues) {
  try {
    const std::vector<Outcome> outcomes = each_done_to_the_end(
        queues.size(), [&](std::size_t i) { return serialised(copy_messages(queues[i].both.get()), "what is in it"); });
    for (std::size_t i = 0; i < outcomes.size(); ++i) queues[i].place->take(outcomes[i]);
  } catch (const Error& error) {
    for (const Copied& one : queues) one.place->obstacle = error.what();
  }
}

void MessageQueueKind::Waiting::take(const Outcome& outcome) {
  if (!outcome.problem && copied.ParseFromString(outcome.result)) return;
  obstacle = outcome.problem ? outcome.problem->what() : "what is in it cannot be understood";
}

void MessageQueueKind::expect_copied(TableCapture& table, const Seen& seen, long messages) {
  if (!waiting_) copy_all(table);
  Waiting& waiting = (*waiting_)[seen.status.st_ino];
  const bool is_complete = !table.context.content.keeps() || waiting.copied.messages_size() == messages;
  if (waiting.obstacle.empty() && !is_complete) waiting.obstacle = "others came or went meanwhile";
  if (waiting.obstacle.empty()) return;
  table.refuse(seen, fmt::format("a POSIX message queue with messages, which only taking them shows; they cannot be "
                                 "put back: {}: {}",
                                 waiting.obstacle, seen.link));
}

// Not earlier: a description may have been given up.
void MessageQueueKind::finish(TableCapture& table) {
  if (!waiting_) return;
  for (image::OpenDescription& description : *table.image.mutable_descriptions()) {
    if (!description.has_message_queue()) continue;
    image::PosixMessageQueue& queue = *description.mutable_message_queue();
    const auto found = waiting_->find(queue.inode());
    if (found == waiting_->end()) continue;
    queue.mutable_messages()->Swap(found->second.copied.mutable_messages());
    waiting_->erase(found);
  }
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
}

// Later descriptions of a queue without a name are of the one that the first has made.
FileDescriptor MessageQueueKind::open(TableRestore& table, const Description& description) {
  const image::PosixMessageQueue& queue = description.message_queue();
  const int access = static_cast<int>(description.status_flags()) & O_ACCMODE;
  const auto [known, is_first] = queue.inode() == 0
                                     ? std::pair(firsts_.end(), true)
                                     : firsts_.emplace(queue.inode(), index_of(table.image, description));
  if (!queue.name().empty()) return open_by_name(table, queue, access, is_first);
  if (!is_first) return open_another(table.place_of(known->second), access);
  FileDescriptor made = make_nameless(access, queue);
  if (!made) fail_to_open("a POSIX message queue without a name", errno);
  new_.insert(&queue);
  return made;
}

FileDescriptor MessageQueueKind::open_by_name(TableRestore& table, const image::PosixMessageQueue& queue, int access,
                                              bool is_first) {
  FileDescriptor opened = open_queue(queue.name(), access, queue);
  const bool missing = !opened && errno == ENOENT;
  if (missing) opened = open_queue(queue.name(), access | O_CREAT | O_EXCL, queue);
  if (!opened) fail_to_open(fmt::format("the POSIX message queue {}", queue.name()), errno);
  if (missing) new_.insert(&queue);
  if (!missing && is_first) look_at_standing_queue(table, queue, opened.get());
  return opened;
}

// As late as possible: what a queue that stands had in it is lost. And then its mode, which may keep this user out.
void MessageQueueKind::connect(TableRestore& /*table*/, const Description& description, int number) {
  const image::PosixMessageQueue& queue = description.message_queue();
  if (queue.messages_size() != 0) fill(number, queue);
  if (!new_.contains(&queue)) return;
  static_cast<void>(::fchown(number, queue.owner(), queue.group()) == 0);  // where this user may
  static_cast<void>(::fchmod(number, queue.mode()) == 0);
}

namespace {

std::uint64_t bytes_of(const image::PosixMessageQueue& queue) {
  std::uint64_t bytes = 0;
  for (const image::PosixMessage& message : queue.messages()) bytes += message.content().size();
  return bytes;
}

// What a program had in a namespace of its own may be here by an earlier restart; if it is not, it is somebody else's.
void expect_same_queue(const image::PosixMessageQueue& queue, int opened) {
  struct stat status{};
  if (::fstat(opened, &status) != 0) fail_errno(errno, "cannot look at the POSIX message queue {}", queue.name());
  const long messages = attributes_now(opened).mq_curmsgs;
  const bool is_alike = messages == queue.messages_size() && bytes_in(opened) == bytes_of(queue);
  const bool is_other = queue.is_in_own_namespace() && messages != 0 && !is_alike;
  if (!is_other && !is_of_others(queue, status)) return;
  const std::string why =
      is_other
          ? fmt::format("the program had it in an IPC namespace of its own, and the one here has {} messages", messages)
          : fmt::format("the one here belongs to user {}", status.st_uid);
  throw Error(ErrorKind::Failed, fmt::format("the POSIX message queue {} cannot have its {} messages again: {}",
                                             queue.name(), queue.messages_size(), why))
      .advise("Have that queue removed (mq_unlink, or rm where its file system is mounted)");
}

}  // namespace

bool has_own_message_queues(const image::Descriptors& image) {
  return std::ranges::any_of(image.descriptions(), [](const image::OpenDescription& description) {
    return description.message_queue().is_in_own_namespace();
  });
}

void check_message_queues(const image::Descriptors& image) {
  std::vector<FileDescriptor> queues;
  std::vector<int> numbers;
  std::vector<const image::PosixMessageQueue*> named;
  for (const image::OpenDescription& description : image.descriptions()) {
    const image::PosixMessageQueue& queue = description.message_queue();
    if (queue.name().empty() || queue.messages().empty()) continue;
    FileDescriptor opened = open_queue(queue.name(), O_RDONLY, queue);
    if (!opened && (errno == ENOENT || errno == EACCES)) continue;  // what may not be opened is told of later
    if (!opened) fail_to_open(fmt::format("the POSIX message queue {}", queue.name()), errno);
    expect_same_queue(queue, opened.get());
    numbers.push_back(opened.get());
    queues.push_back(std::move(opened));
    named.push_back(&queue);
  }
  if (numbers.empty()) return;
  const std::vector<QueueUser> users = find_other_users({}, numbers);
  for (std::size_t i = 0; i < users.size(); ++i) {
    if (users[i].pid == 0 || !users[i].is_seen) continue;
    throw Error(ErrorKind::Failed,
                fmt::format("the POSIX message queue {} is to have its {} messages again, but process "
                            "{} has it open",
                            named[i]->name(), named[i]->messages_size(), users[i].pid))
        .advise("End that process first");
  }
}

}  // namespace crs::engine
