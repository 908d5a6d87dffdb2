#include "engine/pages/lazy_space.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"

namespace crs::engine {

LazySpace::LazySpace(FileDescriptor descriptor, std::span<const RemoteRange> ranges)
    : descriptor_(std::move(descriptor)) {
  for (const RemoteRange& range : ranges) pieces_[range.start] = {range.end, range.start};
}

std::optional<RemoteAddress> LazySpace::origin_of(RemoteAddress address) const {
  const auto behind = pieces_.upper_bound(address);
  if (behind == pieces_.begin()) return std::nullopt;
  const auto& [start, piece] = *std::prev(behind);
  if (address >= piece.end) return std::nullopt;
  return piece.origin + (address - start);
}

LazySpace::Put LazySpace::put(RemoteRange run, std::span<const std::byte> bytes) const {
  for (const auto& [start, piece] : pieces_) {
    const RemoteRange source{piece.origin, piece.origin + (piece.end - start)};
    if (!source.overlaps(run)) continue;
    const RemoteAddress first = std::max(source.start, run.start);
    const RemoteAddress last = std::min(source.end, run.end);
    const Put result = put_at(start + (first - source.start), bytes.subspan(first - run.start, last - first));
    if (result != Put::Done) return result;
  }
  return Put::Done;
}

// What is there already (EEXIST) came earlier or is the program's own, and stays.
LazySpace::Put LazySpace::put_at(RemoteAddress to, std::span<const std::byte> bytes) const {
  std::uint64_t most = bytes.size();
  while (!bytes.empty()) {
    uffdio_copy request{};
    request.dst = to.value;
    request.src = reinterpret_cast<std::uint64_t>(bytes.data());
    request.len = std::min<std::uint64_t>(most, bytes.size());
    const int problem = ::ioctl(descriptor_.get(), UFFDIO_COPY, &request) == 0 ? 0 : errno;
    std::uint64_t done = request.copy > 0 ? static_cast<std::uint64_t>(request.copy) : 0;
    if (problem == ESRCH) return Put::Gone;
    if (problem == EAGAIN && done == 0) return Put::Again;
    if (problem == EEXIST) {
      done += kPageSize;
    } else if (problem == ENOENT && done == 0) {
      // The pages lie in several areas by now, or this one in none.
      if (request.len == kPageSize) done = kPageSize;
      most = kPageSize;
    } else if (problem != 0 && problem != EAGAIN && problem != ENOENT) {
      fail_errno(problem, "cannot put pages at {:#x} (UFFDIO_COPY)", to.value);
    }
    to = to + done;
    bytes = bytes.subspan(std::min<std::size_t>(done, bytes.size()));
  }
  return Put::Done;
}

LazySpace::Put LazySpace::put_zeros(RemoteAddress page) const {
  uffdio_zeropage request{};
  request.range = {page.value, kPageSize};
  if (::ioctl(descriptor_.get(), UFFDIO_ZEROPAGE, &request) == 0) return Put::Done;
  switch (errno) {
    case EEXIST:
    case ENOENT:
      wake(page);
      return Put::Done;
    case EAGAIN:
      return Put::Again;
    case ESRCH:
      return Put::Gone;
    default:
      fail_errno(errno, "cannot put a page at {:#x} (UFFDIO_ZEROPAGE)", page.value);
  }
}

void LazySpace::wake(RemoteAddress page) const {
  uffdio_range range{page.value, kPageSize};
  ::ioctl(descriptor_.get(), UFFDIO_WAKE, &range);
}

LazySpace LazySpace::forked(FileDescriptor descriptor) const {
  LazySpace child(std::move(descriptor), {});
  child.pieces_ = pieces_;
  return child;
}

// So that no piece has `address` inside.
void LazySpace::split_at(RemoteAddress address) {
  const auto behind = pieces_.upper_bound(address);
  if (behind == pieces_.begin()) return;
  auto& [start, piece] = *std::prev(behind);
  if (start == address || address >= piece.end) return;
  pieces_[address] = {piece.end, piece.origin + (address - start)};
  piece.end = address;
}

void LazySpace::removed(RemoteRange range) {
  split_at(range.start);
  split_at(range.end);
  pieces_.erase(pieces_.lower_bound(range.start), pieces_.lower_bound(range.end));
}

void LazySpace::moved(RemoteAddress from, RemoteAddress to, std::uint64_t bytes) {
  split_at(from);
  split_at(from + bytes);
  std::map<RemoteAddress, Piece> pieces;
  const auto first = pieces_.lower_bound(from);
  const auto last = pieces_.lower_bound(from + bytes);
  for (auto piece = first; piece != last; ++piece)
    pieces[to + (piece->first - from)] = {to + (piece->second.end - from), piece->second.origin};
  pieces_.erase(first, last);
  removed({to, to + bytes});
  pieces_.merge(pieces);
}

}  // namespace crs::engine
