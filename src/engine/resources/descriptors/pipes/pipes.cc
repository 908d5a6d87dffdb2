#include "engine/resources/descriptors/pipes/pipes.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "engine/procfs/other_names.h"
#include "engine/resources/descriptors/files/identity.h"
#include "engine/resources/descriptors/files/permissions.h"
#include "engine/resources/descriptors/pipes/content.h"

namespace crs::engine {
namespace {

// Data in pipes is part of the image itself; what an administrator may allow beyond this is not.
constexpr std::uint64_t kLargestPipe = std::uint64_t{64} << 20;

// Whether nobody anywhere has the other end: a reader then sees a hang-up, a writer an error (poll(2)).
bool other_end_closed(const Seen& seen) {
  pollfd end{seen.copy.get(), 0, 0};
  if (::poll(&end, 1, 0) < 0) return false;
  return (end.revents & (seen.reads() ? POLLHUP : POLLERR)) != 0;
}

// Whether this reader of a FIFO waits for its first writer: no hang-up is reported before (poll(2)), but reading, which
// tee(2) does here without taking anything, finds an end.
bool awaits_writer(const Seen& seen) {
  if (!seen.reads() || seen.writes() || !seen.link.starts_with('/')) return false;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno(errno, "cannot make a pipe");
  const FileDescriptor read_end(ends[0]);
  const FileDescriptor write_end(ends[1]);
  const bool at_end = ::tee(seen.copy.get(), write_end.get(), 1, SPLICE_F_NONBLOCK) == 0;
  return at_end && !other_end_closed(seen) && reach_of(seen) == Reach::ByPath;
}

void set_capacity(int end, const image::Pipe& pipe, std::vector<std::string>& notes) {
  if (::fcntl(end, F_GETPIPE_SZ) == static_cast<int>(pipe.capacity())) return;
  if (::fcntl(end, F_SETPIPE_SZ, static_cast<int>(pipe.capacity())) >= 0) return;
  notes.push_back(fmt::format(
      "a pipe had room for {} bytes and has its ordinary size now (limits: /proc/sys/fs/pipe-*)", pipe.capacity()));
}

FileDescriptor open_fifo(const image::Pipe& pipe, std::uint32_t flags) {
  FileDescriptor fifo = open_again(pipe.path(), flags);
  struct stat now{};
  if (::fstat(fifo.get(), &now) != 0 || !S_ISFIFO(now.st_mode)) {
    fail(ErrorKind::Failed, "{} was a FIFO at the checkpoint and is none now", pipe.path());
  }
  int unread = 0;
  if (::ioctl(fifo.get(), FIONREAD, &unread) != 0 || unread != 0) {
    throw Error(ErrorKind::Failed, fmt::format("FIFO {} has data of others in it", pipe.path()))
        .advise("End the programs that use it, or wait for them");
  }
  return fifo;
}

// A reader that came while there is no writer, as the original did; it must not wait for one here.
FileDescriptor open_awaiting(const image::Pipe& pipe, std::uint32_t flags, std::vector<std::string>& notes) {
  FileDescriptor reader = open_fifo(pipe, flags | O_NONBLOCK);
  if (::fcntl(reader.get(), F_SETFL, static_cast<int>(flags)) != 0)
    fail_errno(errno, "cannot set the flags of FIFO {}", pipe.path());
  set_capacity(reader.get(), pipe, notes);
  return reader;
}

std::string name_before(std::string_view shown_path) {
  if (shown_path.ends_with(kDeleted)) shown_path.remove_suffix(kDeleted.size());
  return std::string(shown_path);
}

// A FIFO without a name has one for a moment, as there is no other way to make it. On the file system where it was if
// that can be, else where temporary files go.
FileDescriptor make_unlinked_fifo(const image::Pipe& pipe) {
  const std::string folder = std::filesystem::path(pipe.path()).parent_path();
  int problem = 0;  // of the last place: what is tidied up afterwards must not hide it
  for (const std::string& place : std::array<std::string, 3>{folder, "/var/tmp", "/tmp"}) {
    std::string directory = place + "/.crs-XXXXXX";
    if (::mkdtemp(directory.data()) == nullptr) {
      problem = errno;
      continue;
    }
    const std::string name = directory + "/fifo";
    FileDescriptor fifo;
    if (::mkfifo(name.c_str(), 0600) == 0) fifo = FileDescriptor(::open(name.c_str(), O_RDWR | O_CLOEXEC));
    problem = errno;
    ::unlink(name.c_str());
    ::rmdir(directory.c_str());
    if (fifo) return fifo;
  }
  fail_errno(problem, "cannot make a FIFO like {}, neither in its directory nor in /var/tmp or /tmp", pipe.path());
}

// When everybody has opened it.
void finish_unlinked_fifo(int fifo, const image::Pipe& pipe, std::vector<std::string>& notes) {
  struct stat status{};
  if (::fstat(fifo, &status) != 0) fail_errno(errno, "cannot look at a FIFO");
  const bool is_owners = status.st_uid == pipe.owner() && status.st_gid == pipe.group();
  if (!is_owners && ::fchown(fifo, pipe.owner(), pipe.group()) != 0)
    notes.push_back(fmt::format("the unlinked FIFO {} belongs to the restarting user now, not to user {} and group {}",
                                pipe.path(), pipe.owner(), pipe.group()));
  if (::fchmod(fifo, pipe.mode()) != 0) fail_errno(errno, "cannot give the unlinked FIFO {} its mode", pipe.path());
}

void check_pipe(const image::Pipe& pipe) {
  std::uint64_t bytes = 0;
  for (const image::Pipe::Piece& piece : pipe.pieces()) {
    bytes += piece.data().size();
    if (piece.data().empty() || (piece.packet() && piece.data().size() > PIPE_BUF))
      fail(ErrorKind::Damaged, "the snapshot has a pipe with data that cannot be");
  }
  const bool possible = pipe.capacity() >= kPageSize && pipe.capacity() <= INT_MAX && bytes <= pipe.capacity();
  if (!possible) fail(ErrorKind::Damaged, "the snapshot has a pipe that cannot be");
  if (!pipe.path().empty()) checked_path(pipe.path());
  if (pipe.unlinked() && (pipe.path().empty() || (pipe.mode() & ~07777U) != 0))
    fail(ErrorKind::Damaged, "the snapshot has an unlinked FIFO that cannot be");
  if (pipe.awaits_writer() && (pipe.path().empty() || pipe.unlinked() || bytes != 0))
    fail(ErrorKind::Damaged, "the snapshot has a pipe that waits for a writer and cannot");
}

bool is_fifo_with_name(const image::Pipe& pipe) { return !pipe.path().empty() && !pipe.unlinked(); }

// Whoever has it open, a restart opens it for both, so that it need not wait for anyone; a reader of one that waits for
// its first writer comes alone.
void look_at_rights(TableCapture& table, const Seen& seen, const image::Pipe& pipe) {
  if (!is_fifo_with_name(pipe)) return;
  if (may_be_accessed(pipe.path(), pipe.awaits_writer() ? R_OK : R_OK | W_OK)) return;
  table.lack(seen,
             fmt::format("FIFO {}, which its permissions do not let this user open again{}", pipe.path(),
                         pipe.awaits_writer() ? "" : " for reading and writing"),
             "chmod u+rw it, if it is yours, or restart as root");
}

void capture_name(TableCapture& table, const Seen& seen, image::Pipe& pipe) {
  if (!seen.link.starts_with('/')) return;
  if (reach_of(seen) == Reach::ByPath) return pipe.set_path(seen.link);
  if (seen.status.st_nlink != 0) {
    return table.refuse(seen, fmt::format("{}, a FIFO whose name is elsewhere or cannot be reached", seen.link));
  }
  pipe.set_unlinked(true);
  pipe.set_path(name_before(seen.link));
  pipe.set_mode(seen.status.st_mode & 07777);
  pipe.set_owner(seen.status.st_uid);
  pipe.set_group(seen.status.st_gid);
}

}  // namespace

const PipeKind::Ends& PipeKind::ends_of(const TableCapture& table, const Seen& seen) {
  if (!ends_known_) {
    for (const Seen& one : table.seen) {
      if (!S_ISFIFO(one.status.st_mode) || one.is_path_only()) continue;
      Ends& ends = ends_[{one.status.st_dev, one.status.st_ino}];
      if (one.reads()) ends.reader = &one;
      if (one.writes()) ends.writer = &one;
      if (one.writes() && (one.flags & O_DIRECT) != 0) ends.packets = true;
    }
    ends_known_ = true;
  }
  return ends_[{seen.status.st_dev, seen.status.st_ino}];
}

bool PipeKind::recognises(const TableCapture& table, const Seen& seen) {
  if (!S_ISFIFO(seen.status.st_mode) || seen.is_path_only()) return false;
  const Ends& ends = ends_of(table, seen);
  return (ends.reader != nullptr && ends.writer != nullptr) || other_end_closed(seen) || awaits_writer(seen);
}

void PipeKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  const std::pair key{seen.status.st_dev, seen.status.st_ino};
  const auto [known, is_new] = captured_.try_emplace(key, static_cast<std::uint32_t>(table.image.pipes_size()));
  description.mutable_pipe_end()->set_pipe(known->second);
  if (!is_new) return;
  image::Pipe& pipe = *table.image.add_pipes();
  capture_name(table, seen, pipe);
  const Ends& ends = ends_of(table, seen);
  const int capacity = ::fcntl(seen.copy.get(), F_GETPIPE_SZ);
  if (capacity < 0) fail_errno(errno, "cannot ask {}, a pipe, for its capacity", table.name_of(seen));
  pipe.set_capacity(static_cast<std::uint64_t>(capacity));
  if (pipe.capacity() > kLargestPipe) return table.refuse(seen, fmt::format("a pipe of {} bytes", capacity));
  pipe.set_awaits_writer(ends.writer == nullptr && awaits_writer(seen));
  look_at_rights(table, seen, pipe);
  // Where no reader is left anywhere, nobody will ever see what is in it.
  if (ends.reader != nullptr) copy_pipe_content(ends.reader->copy.get(), ends.packets, table.name_of(seen), pipe);
}

void PipeKind::check(TableCheck& table, const Description& description) {
  if (!checked_) {
    for (const image::Pipe& pipe : table.image.pipes()) check_pipe(pipe);
    checked_ = true;
  }
  if (description.pipe_end().pipe() >= static_cast<std::uint32_t>(table.image.pipes_size())) {
    fail(ErrorKind::Damaged, "the snapshot has an end of a pipe that it does not have");
  }
  const bool awaits = table.image.pipes(static_cast<int>(description.pipe_end().pipe())).awaits_writer();
  if (awaits && (description.status_flags() & O_ACCMODE) != O_RDONLY)
    fail(ErrorKind::Damaged, "the snapshot has a writer of a FIFO that waits for one");
}

PipeKind::Made& PipeKind::make(TableRestore& table, std::uint32_t index) {
  const auto [place, is_new] = made_.try_emplace(index);
  Made& made = place->second;
  if (!is_new) return made;
  const image::Pipe& pipe = table.image.pipes(static_cast<int>(index));
  if (!pipe.path().empty()) {
    // Reading and writing: does not wait for anyone (fifo(7)).
    made.read_end = table.aside(pipe.unlinked() ? make_unlinked_fifo(pipe) : open_fifo(pipe, O_RDWR));
    made.write_end = table.aside(FileDescriptor(::dup(made.read_end.get())));
    made.read_end_given = made.write_end_given = true;  // every end of a FIFO is opened anew
  } else {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), 0) != 0) fail_errno(errno, "cannot make a pipe");
    FileDescriptor read_end(ends[0]);
    FileDescriptor write_end(ends[1]);
    made.read_end = table.aside(std::move(read_end));
    made.write_end = table.aside(std::move(write_end));
  }
  set_capacity(made.write_end.get(), pipe, table.context.notes);
  return made;
}

FileDescriptor PipeKind::open(TableRestore& table, const Description& description) {
  const image::Pipe& pipe = table.image.pipes(static_cast<int>(description.pipe_end().pipe()));
  if (pipe.awaits_writer()) return open_awaiting(pipe, description.status_flags(), table.context.notes);
  Made& made = make(table, description.pipe_end().pipe());
  const std::uint32_t flags = description.status_flags();
  const std::uint32_t access = flags & O_ACCMODE;
  // The mode of packets is set later: open(2) takes O_DIRECT for something else.
  const std::uint32_t open_flags = flags & ~static_cast<std::uint32_t>(O_DIRECT | O_NOFOLLOW);
  if (is_fifo_with_name(pipe)) return open_again(pipe.path(), open_flags);
  // The pair that pipe(2) made goes to the descriptions that pipe(2) made; others were opened through /proc.
  bool& given = access == O_RDONLY ? made.read_end_given : made.write_end_given;
  if (access == O_RDWR || given || (flags & kLargeFile) != 0) return reopen(made.read_end.get(), open_flags);
  given = true;
  return FileDescriptor(::dup(access == O_RDONLY ? made.read_end.get() : made.write_end.get()));
}

void PipeKind::complete(TableRestore& table) {
  for (const auto& [index, made] : made_) {
    const image::Pipe& pipe = table.image.pipes(static_cast<int>(index));
    fill_pipe(made.write_end.get(), pipe);
    if (pipe.unlinked()) finish_unlinked_fifo(made.write_end.get(), pipe, table.context.notes);
  }
  made_.clear();
}

}  // namespace crs::engine
