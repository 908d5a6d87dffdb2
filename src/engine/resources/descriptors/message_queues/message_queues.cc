#include "engine/resources/descriptors/message_queues/message_queues.h"

#include <fcntl.h>
#include <mqueue.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>

#include "base/error.h"
#include "engine/procfs/other_names.h"

namespace crs::engine {
namespace {

constexpr long kFileSystem = 0x19800202;  // MQUEUE_MAGIC

// Whether somebody is to be told of the next message (mq_notify(3)): mq_overview(7), "Mounting the message queue
// filesystem".
bool is_registered(int queue) {
  std::array<char, 256> text{};
  const ssize_t length = ::pread(queue, text.data(), text.size() - 1, 0);
  if (length < 0) return false;  // opened for writing only: nor would the kernel say so to anybody
  const std::string_view shown(text.data(), static_cast<std::size_t>(length));
  constexpr std::string_view kProcess = "NOTIFY_PID:";
  const std::size_t at = shown.find(kProcess);
  return at != std::string_view::npos && parse_number(words_of(shown.substr(at + kProcess.size())).front()) != 0;
}

// Of a queue that stands, by its permissions alone.
bool may_be_opened(const Seen& seen) {
  const int access = (seen.reads() ? R_OK : 0) | (seen.writes() ? W_OK : 0);
  const std::string place = fmt::format("/proc/self/fd/{}", seen.copy.get());
  return ::faccessat(AT_FDCWD, place.c_str(), access, AT_EACCESS) == 0 || (errno != EACCES && errno != EPERM);
}

mq_attr attributes_of(const image::PosixMessageQueue& queue) {
  mq_attr attributes{};
  attributes.mq_maxmsg = queue.most_messages();
  attributes.mq_msgsize = queue.message_size();
  return attributes;
}

FileDescriptor open_queue(const std::string& name, int flags, const image::PosixMessageQueue& queue) {
  mq_attr attributes = attributes_of(queue);
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

}  // namespace

bool MessageQueueKind::recognises(const TableCapture& /*table*/, const Seen& seen) {
  struct statfs system{};
  return S_ISREG(seen.status.st_mode) && !seen.is_path_only() && ::fstatfs(seen.copy.get(), &system) == 0 &&
         system.f_type == kFileSystem;
}

void MessageQueueKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  constexpr std::uint32_t kRights = 0777;
  mq_attr attributes{};
  if (::mq_getattr(seen.copy.get(), &attributes) != 0) fail_errno(errno, "cannot ask a POSIX message queue");
  if (attributes.mq_curmsgs != 0)
    return table.refuse(seen, fmt::format("a POSIX message queue with {} messages, which can only be seen by taking "
                                          "them: {}",
                                          attributes.mq_curmsgs, seen.link));
  if (is_registered(seen.copy.get()))
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
}

void MessageQueueKind::check(TableCheck& /*table*/, const Description& description) {
  constexpr std::uint32_t kRights = 0777;
  const image::PosixMessageQueue& queue = description.message_queue();
  const std::string& name = queue.name();
  const bool named =
      name.size() > 1 && name.size() <= NAME_MAX && name.find_last_of('/') == 0 && name.find('\0') == std::string::npos;
  if ((!name.empty() && !named) || queue.mode() > kRights || queue.most_messages() <= 0 || queue.message_size() <= 0)
    fail(ErrorKind::Damaged, "the snapshot has a POSIX message queue that cannot be");
}

FileDescriptor MessageQueueKind::open(TableRestore& table, const Description& description) {
  const image::PosixMessageQueue& queue = description.message_queue();
  const int access = static_cast<int>(description.status_flags()) & O_ACCMODE;
  const std::string& name = queue.name();
  FileDescriptor opened = name.empty() ? make_nameless(access, queue) : open_queue(name, access, queue);
  const bool missing = !opened && errno == ENOENT && !name.empty();
  if (missing) opened = open_queue(name, access | O_CREAT | O_EXCL, queue);
  if (!opened) {
    throw Error::from_errno(fmt::format("cannot open the POSIX message queue {}", name), errno)
        .advise("See /proc/sys/fs/mqueue and ulimit -q for the limits");
  }
  if (missing || name.empty()) {
    static_cast<void>(!::fchmod(opened.get(), queue.mode()));
    return opened;
  }
  mq_attr attributes{};
  if (::mq_getattr(opened.get(), &attributes) != 0) fail_errno(errno, "cannot ask the POSIX message queue {}", name);
  if (attributes.mq_maxmsg != queue.most_messages() || attributes.mq_msgsize != queue.message_size())
    fail(ErrorKind::Failed, "the POSIX message queue {} is another one: its limits are others", name);
  if (attributes.mq_curmsgs != 0)
    table.context.notes.push_back(
        fmt::format("the POSIX message queue {} was empty and has {} messages now", name, attributes.mq_curmsgs));
  return opened;
}

}  // namespace crs::engine
