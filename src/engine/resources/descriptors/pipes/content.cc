#include "engine/resources/descriptors/pipes/content.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <string>
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

struct PipeCopy {
  FileDescriptor read_end;
  FileDescriptor write_end;

  explicit PipeCopy(std::string_view name) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) fail_errno(errno, "cannot make a pipe to copy {}", name);
    read_end = FileDescriptor(ends[0]);
    write_end = FileDescriptor(ends[1]);
  }

  void enlarge(std::uint64_t capacity, std::string_view name) const {
    if (::fcntl(write_end.get(), F_SETPIPE_SZ, static_cast<int>(capacity)) >= 0) return;
    throw Error::from_errno(fmt::format("cannot make a pipe of {} bytes to copy {}", capacity, name), errno)
        .advise("Raise what pipes this user may have (fs.pipe-user-pages-soft, fs.pipe-max-size: pipe(7))");
  }
};

// A copy of all that is in the pipe, in a pipe of its own. That is as large only if need be: how much all pipes of a
// user may take is limited.
FileDescriptor copy_to_twin(int read_end, const image::Pipe& pipe, std::size_t bytes, std::string_view name) {
  ssize_t copied = 0;
  for (const bool is_large : {false, true}) {
    PipeCopy twin(name);
    if (is_large) twin.enlarge(pipe.capacity(), name);
    copied = ::tee(read_end, twin.write_end.get(), bytes, SPLICE_F_NONBLOCK);
    if (copied < 0) fail_errno(errno, "cannot copy the unread data of {}", name);
    if (static_cast<std::size_t>(copied) == bytes) return std::move(twin.read_end);
  }
  fail(ErrorKind::Failed, "only {} of {} unread bytes of {} could be copied", copied, bytes, name);
}

void take(int twin, std::string& buffer, std::size_t most, std::string_view name) {
  buffer.resize(most);
  const ssize_t got = ::read(twin, buffer.data(), most);
  if (got <= 0) fail_errno(got == 0 ? EIO : errno, "cannot read the unread data of {}", name);
  buffer.resize(static_cast<std::size_t>(got));
}

// Takes one byte of `twin` and says whether it was the first of a longer packet, the rest of which is dropped then.
bool next_is_packet(int twin, std::string_view name) {
  const std::size_t unread = unread_bytes(twin, name);
  std::string byte;
  take(twin, byte, 1, name);
  return unread - unread_bytes(twin, name) > 1;
}

// How many of the next `bytes` bytes of `twin` stand before a packet that ends them.
std::size_t bytes_before_packet(int twin, std::size_t bytes, std::string_view name) {
  std::string skipped;
  if (bytes > PIPE_BUF) take(twin, skipped, bytes - PIPE_BUF, name);  // no packet is longer
  std::size_t before = skipped.size();
  while (before < bytes && !next_is_packet(twin, name)) ++before;
  return before;
}

void add_piece(image::Pipe& pipe, std::string_view data, bool packet) {
  if (data.empty()) return;
  image::Pipe::Piece& piece = *pipe.add_pieces();
  piece.set_data(data.data(), data.size());
  piece.set_packet(packet);
}

void write_piece(int writer, const image::Pipe::Piece& piece) {
  if (::fcntl(writer, F_SETFL, O_NONBLOCK | (piece.packet() ? O_DIRECT : 0)) != 0)
    fail_errno(errno, "cannot put a pipe into packet mode");
  const ssize_t put = ::write(writer, piece.data().data(), piece.data().size());
  if (put < 0) fail_errno(errno, "cannot put the unread data back into a pipe");
  if (static_cast<std::size_t>(put) != piece.data().size())
    fail(ErrorKind::Failed, "a pipe took only {} of {} unread bytes", put, piece.data().size());
}

}  // namespace

void copy_pipe_content(int read_end, bool packet_mode, std::string_view name, image::Pipe& pipe) {
  const int capacity = ::fcntl(read_end, F_GETPIPE_SZ);
  if (capacity < 0) fail_errno(errno, "cannot ask {} for its capacity", name);
  pipe.set_capacity(static_cast<std::uint64_t>(capacity));
  const std::size_t bytes = unread_bytes(read_end, name);
  if (bytes == 0) return;

  const FileDescriptor twin = copy_to_twin(read_end, pipe, bytes, name);
  const FileDescriptor probed = copy_to_twin(read_end, pipe, bytes, name);
  std::string piece;
  for (std::size_t left = bytes; left > 0; left -= piece.size()) {
    take(twin.get(), piece, left, name);
    const bool ended_by_packet = piece.size() < left;
    // The usual pipe: not every byte is to be looked at.
    if (!ended_by_packet && !packet_mode && left == bytes)
      return add_piece(pipe, piece, bytes <= PIPE_BUF && next_is_packet(probed.get(), name));
    std::size_t before = bytes_before_packet(probed.get(), piece.size(), name);
    // A packet of one byte looks like any byte.
    if (before == piece.size() && (ended_by_packet || (packet_mode && before == 1))) --before;
    add_piece(pipe, std::string_view(piece).substr(0, before), false);
    add_piece(pipe, std::string_view(piece).substr(before), true);
  }
}

void fill_pipe(int write_end, const image::Pipe& pipe) {
  if (pipe.pieces().empty()) return;
  const FileDescriptor writer = reopen(write_end, O_WRONLY | O_NONBLOCK);
  for (int i = 0; i < pipe.pieces_size(); ++i) {
    const image::Pipe::Piece& piece = pipe.pieces(i);
    const bool last = i + 1 == pipe.pieces_size();
    if (piece.packet() || last) {
      write_piece(writer.get(), piece);
      continue;
    }
    // The kernel would put a packet that fits into the page of these bytes there; not where the page came by tee(2).
    const PipeCopy aside("unread data");
    aside.enlarge(pipe.capacity(), "unread data");
    write_piece(aside.write_end.get(), piece);
    const std::size_t bytes = piece.data().size();
    if (::tee(aside.read_end.get(), writer.get(), bytes, SPLICE_F_NONBLOCK) != static_cast<ssize_t>(bytes))
      fail_errno(errno, "cannot put the unread data back into a pipe");
  }
}

}  // namespace crs::engine
