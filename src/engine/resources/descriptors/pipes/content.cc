#include "engine/resources/descriptors/pipes/content.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "engine/resources/descriptors/kind.h"

namespace crs::engine {
namespace {

std::size_t unread_bytes(int descriptor, std::string_view name) {
  int bytes = 0;
  if (::ioctl(descriptor, FIONREAD, &bytes) != 0) fail_errno(errno, "cannot ask {} for its unread data", name);
  return static_cast<std::size_t>(bytes);
}

std::pair<FileDescriptor, FileDescriptor> make_twin(std::uint64_t capacity, std::string_view name) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) fail_errno(errno, "cannot make a pipe to copy {}", name);
  FileDescriptor read_end(ends[0]);
  FileDescriptor write_end(ends[1]);
  if (::fcntl(write_end.get(), F_SETPIPE_SZ, static_cast<int>(capacity)) < 0) {
    fail_errno(errno, "cannot make a pipe of {} bytes to copy {}", capacity, name);
  }
  return {std::move(read_end), std::move(write_end)};
}

}  // namespace

void copy_pipe_content(int read_end, bool packet_mode, std::string_view name, image::Pipe& pipe) {
  const int capacity = ::fcntl(read_end, F_GETPIPE_SZ);
  if (capacity < 0) fail_errno(errno, "cannot ask {} for its capacity", name);
  pipe.set_capacity(static_cast<std::uint64_t>(capacity));
  const std::size_t bytes = unread_bytes(read_end, name);
  if (bytes == 0) return;

  const auto [twin_read, twin_write] = make_twin(pipe.capacity(), name);
  const ssize_t copied = ::tee(read_end, twin_write.get(), bytes, SPLICE_F_NONBLOCK);
  if (copied < 0) fail_errno(errno, "cannot copy the unread data of {}", name);
  if (static_cast<std::size_t>(copied) != bytes)
    fail(ErrorKind::Failed, "only {} of {} unread bytes of {} could be copied", copied, bytes, name);

  // A read that gives less than there is has met the end of a packet.
  std::string buffer(bytes, '\0');
  for (std::size_t left = bytes; left > 0;) {
    const ssize_t got = ::read(twin_read.get(), buffer.data(), buffer.size());
    if (got <= 0) fail_errno(got == 0 ? EIO : errno, "cannot read the unread data of {}", name);
    pipe.add_pieces(buffer.data(), static_cast<std::size_t>(got));
    left -= static_cast<std::size_t>(got);
  }
  pipe.set_packets(packet_mode || pipe.pieces_size() > 1);
}

void fill_pipe(int write_end, const image::Pipe& pipe) {
  if (pipe.pieces().empty()) return;
  const FileDescriptor writer = reopen(write_end, O_WRONLY | O_NONBLOCK);
  if (pipe.packets() && ::fcntl(writer.get(), F_SETFL, O_NONBLOCK | O_DIRECT) != 0) {
    fail_errno(errno, "cannot put a pipe into packet mode");
  }
  for (const std::string& piece : pipe.pieces()) {
    const ssize_t put = ::write(writer.get(), piece.data(), piece.size());
    if (put < 0) fail_errno(errno, "cannot put the unread data back into a pipe");
    if (static_cast<std::size_t>(put) != piece.size())
      fail(ErrorKind::Failed, "a pipe took only {} of {} unread bytes", put, piece.size());
  }
}

}  // namespace crs::engine
