#include "engine/pages/page_transfer.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>

#include "base/error.h"

namespace crs::engine {
namespace {

// Calls `transfer` with up to IOV_MAX runs at a time and the bytes that belong to them; it returns how many bytes it
// moved. Whenever that is not all, `one_by_one` does these runs again.
template <typename Byte, typename Transfer, typename OneByOne>
void in_groups(std::span<const RemoteRange> runs, std::span<Byte> bytes, Transfer transfer, OneByOne one_by_one) {
  std::array<iovec, IOV_MAX> remote;
  while (!runs.empty()) {
    const std::span<const RemoteRange> group = runs.first(std::min<std::size_t>(runs.size(), remote.size()));
    std::size_t total = 0;
    for (std::size_t i = 0; i < group.size(); ++i) {
      // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel takes it as an address
      remote[i] = {reinterpret_cast<void*>(group[i].start.value), group[i].size()};
      total += group[i].size();
    }
    const iovec local{const_cast<std::remove_const_t<Byte>*>(bytes.data()), total};
    if (transfer(local, std::span<const iovec>(remote).first(group.size())) != static_cast<ssize_t>(total)) {
      one_by_one(group, bytes.first(total));
    }
    runs = runs.subspan(group.size());
    bytes = bytes.subspan(total);
  }
}

template <typename Byte, typename Action>
void for_each_run(std::span<const RemoteRange> runs, std::span<Byte> bytes, Action action) {
  for (const RemoteRange& run : runs) {
    action(run, bytes.first(run.size()));
    bytes = bytes.subspan(run.size());
  }
}

void read_page_or_zeros(const RemoteMemory& memory, RemoteAddress page, std::span<std::byte> bytes) {
  try {
    memory.read_protected(page, bytes);
  } catch (const Error& error) {
    std::ranges::fill(bytes, std::byte{});
  }
}

}  // namespace

void read_runs(const RemoteMemory& memory, std::span<const RemoteRange> runs, std::span<std::byte> bytes) {
  in_groups(
      runs, bytes,
      [&](const iovec& local, std::span<const iovec> remote) {
        return ::process_vm_readv(memory.pid(), &local, 1, remote.data(), remote.size(), 0);
      },
      [&](std::span<const RemoteRange> group, std::span<std::byte> part) {
        for_each_run(group, part, [&](RemoteRange run, std::span<std::byte> piece) { memory.read(run.start, piece); });
      });
}

void write_runs(const RemoteMemory& memory, std::span<const RemoteRange> runs, std::span<const std::byte> bytes) {
  in_groups(
      runs, bytes,
      [&](const iovec& local, std::span<const iovec> remote) {
        return ::process_vm_writev(memory.pid(), &local, 1, remote.data(), remote.size(), 0);
      },
      [&](std::span<const RemoteRange> group, std::span<const std::byte> part) {
        for_each_run(group, part,
                     [&](RemoteRange run, std::span<const std::byte> piece) { memory.write(run.start, piece); });
      });
}

void read_runs_protected(const RemoteMemory& memory, std::span<const RemoteRange> runs, std::span<std::byte> bytes) {
  for_each_run(runs, bytes,
               [&](RemoteRange run, std::span<std::byte> piece) { memory.read_protected(run.start, piece); });
}

PageRuns read_runs_still_there(const RemoteMemory& memory, std::span<const RemoteRange> runs,
                               std::span<std::byte> bytes) {
  PageRuns read;
  std::byte* end = bytes.data();
  const auto keep = [&](RemoteRange run, const std::byte* from) {
    append_run(read, run);
    if (from != end) std::memmove(end, from, run.size());
    end += run.size();
  };
  in_groups(
      runs, bytes,
      [&](const iovec& local, std::span<const iovec> remote) {
        const ssize_t got = ::process_vm_readv(memory.pid(), &local, 1, remote.data(), remote.size(), 0);
        if (got != static_cast<ssize_t>(local.iov_len)) return got;
        const auto* from = static_cast<const std::byte*>(local.iov_base);
        for (const iovec& run : remote) {
          const RemoteAddress start{reinterpret_cast<std::uintptr_t>(run.iov_base)};
          keep({start, start + run.iov_len}, from);
          from += run.iov_len;
        }
        return got;
      },
      [&](std::span<const RemoteRange> group, std::span<std::byte> part) {
        for_each_run(group, part, [&](RemoteRange run, std::span<std::byte> piece) {
          for (std::size_t at = 0; at < piece.size(); at += kPageSize) {
            const std::span<std::byte> page = piece.subspan(at, kPageSize);
            if (memory.read_some(run.start + at, page) == page.size())
              keep({run.start + at, run.start + at + kPageSize}, page.data());
          }
        });
      });
  return read;
}

PageRuns read_runs_still_there_as_they_are(const RemoteMemory& memory, std::span<const RemoteRange> runs,
                                           std::span<std::byte> bytes) {
  PageRuns read;
  std::byte* end = bytes.data();
  const auto try_to_read = [&](RemoteRange run) {
    try {
      memory.read_protected(run.start, {end, run.size()});
    } catch (const Error&) {  // it is not there any more, or not all of it
      return false;
    }
    append_run(read, run);
    end += run.size();
    return true;
  };
  for (const RemoteRange& run : runs) {
    if (try_to_read(run)) continue;
    for (RemoteAddress page = run.start; page < run.end; page = page + kPageSize) try_to_read({page, page + kPageSize});
  }
  return read;
}

void read_runs_as_far_as_possible(const RemoteMemory& memory, std::span<const RemoteRange> runs,
                                  std::span<std::byte> bytes) {
  for_each_run(runs, bytes, [&](RemoteRange run, std::span<std::byte> piece) {
    if (memory.read_some(run.start, piece) == piece.size()) return;
    for (std::size_t at = 0; at < piece.size(); at += kPageSize) {
      read_page_or_zeros(memory, run.start + at, piece.subspan(at, kPageSize));
    }
  });
}

}  // namespace crs::engine
