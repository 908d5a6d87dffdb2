#include "engine/resources/descriptors/unix_sockets/survey.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/descriptors/sockets/sockets.h"

namespace crs::engine {
namespace {

bool is_unix_socket(const Seen& seen) {
  if (!S_ISSOCK(seen.status.st_mode) || seen.is_path_only()) return false;
  const std::optional<SocketKind> kind = socket_kind_of(seen.copy.get());
  return kind && kind->family == AF_UNIX;
}

std::uint32_t inode_of(const Seen& seen) { return static_cast<std::uint32_t>(seen.status.st_ino); }

// Of this process's own descriptors.
bool is_same(int first, int second) {
  const pid_t self = ::getpid();
  return ::syscall(SYS_kcmp, self, self, KCMP_FILE, first, second) == 0;
}

Seen look_at_own(FileDescriptor descriptor) {
  Seen seen;
  const int flags = ::fcntl(descriptor.get(), F_GETFL);
  if (flags < 0 || ::fstat(descriptor.get(), &seen.status) != 0)
    fail_errno(errno, "cannot look at a descriptor that is on its way through a unix socket");
  seen.flags = static_cast<std::uint32_t>(flags);
  seen.link = read_link(fmt::format("/proc/self/fd/{}", descriptor.get()));
  seen.info = FdInfo::of(::getpid(), descriptor.get());
  seen.position = seen.info.number("pos");
  seen.copy = std::move(descriptor);
  return seen;
}

}  // namespace

UnixSurvey::UnixSurvey(std::vector<Seen>& seen, bool keeps) : keeps_(keeps) {
  if (std::ranges::none_of(seen, is_unix_socket)) return;
  try {
    diags_ = look_at_unix_sockets();
  } catch (const Error&) {
    return;  // they are refused then
  }
  for (const auto& [inode, diag] : diags_) {
    for (const std::uint32_t waiting : diag.pending) {
      if (waiting != 0) waits_at_[waiting] = inode;
    }
  }
  for (std::size_t index = 0; index < seen.size(); ++index) add_place(seen, index);
  // What is found in a queue may have a queue itself, or be another's other end.
  for (std::size_t before = 0; before != seen.size();) {
    before = seen.size();
    for (std::size_t index = 0; index < seen.size(); ++index) look_into(seen, index);
  }
}

void UnixSurvey::add_place(std::vector<Seen>& seen, std::size_t index) {
  if (is_unix_socket(seen[index])) place_.emplace(inode_of(seen[index]), index);
}

void UnixSurvey::look_into(std::vector<Seen>& seen, std::size_t index) {
  const UnixDiag* const diag = find(seen[index]);
  if (diag == nullptr || diag->listens || messages_.contains(diag->inode) || !is_whole(seen[index])) return;
  if (diag->type == SOCK_STREAM ? diag->unread == 0 : !keeps_) {
    // proc_pid_fdinfo(5): how many are in its queue.
    if (diag->type != SOCK_STREAM && seen[index].info.find("scm_fds").value_or("0") != "0") has_unseen_ = true;
    return;
  }
  std::vector<SurveyedMessage> surveyed;
  const std::uint32_t inode = diag->inode;
  const std::string name = seen[index].numbers.empty()
                               ? "a unix socket that is on its way through another"
                               : fmt::format("descriptor {}, a unix socket,", seen[index].first());
  for (QueuedMessage& message : look_at_queue(seen[index].copy.get(), diag->type, name)) {
    SurveyedMessage& added = surveyed.emplace_back();
    for (FileDescriptor& descriptor : message.descriptors) added.seen.push_back(place_of(seen, std::move(descriptor)));
    message.descriptors.clear();
    added.message = std::move(message);
  }
  messages_[inode] = std::move(surveyed);
}

std::size_t UnixSurvey::place_of(std::vector<Seen>& seen, FileDescriptor descriptor) {
  struct stat status{};
  if (::fstat(descriptor.get(), &status) != 0)
    fail_errno(errno, "cannot look at a descriptor that is on its way through a unix socket");
  for (std::size_t index = 0; index < seen.size(); ++index) {
    const Seen& one = seen[index];
    const bool may_be = one.status.st_dev == status.st_dev && one.status.st_ino == status.st_ino;
    if (may_be && is_same(one.copy.get(), descriptor.get())) return index;
  }
  seen.push_back(look_at_own(std::move(descriptor)));
  add_place(seen, seen.size() - 1);
  return seen.size() - 1;
}

const UnixDiag* UnixSurvey::find(std::uint32_t inode) const {
  const auto found = diags_.find(inode);
  return found == diags_.end() ? nullptr : &found->second;
}

const UnixDiag* UnixSurvey::find(const Seen& seen) const {
  return place_.contains(inode_of(seen)) && S_ISSOCK(seen.status.st_mode) ? find(inode_of(seen)) : nullptr;
}

std::uint32_t UnixSurvey::waits_at(std::uint32_t inode) const {
  const auto found = waits_at_.find(inode);
  return found == waits_at_.end() ? 0 : found->second;
}

bool UnixSurvey::is_whole(const Seen& seen) const {
  const UnixDiag* const diag = find(seen);
  if (diag == nullptr) return false;
  if (!diag->peer) return true;
  if (*diag->peer != 0) return is_inside(*diag->peer);
  const std::uint32_t listener = waits_at(diag->inode);
  return listener == 0 || is_inside(listener);
}

const std::vector<SurveyedMessage>& UnixSurvey::messages(const Seen& seen) const {
  static const std::vector<SurveyedMessage> none;
  const auto found = messages_.find(inode_of(seen));
  return found == messages_.end() ? none : found->second;
}

}  // namespace crs::engine
