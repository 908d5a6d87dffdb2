// What the machine itself can do, for crs-bench to compare with: writes, copies and reads of as many bytes, each the
// fastest way that was found. Prints seconds.
//
//   crs-bench-raw write FILE MIB    random bytes into a new file, synced; the better of direct and buffered
//   crs-bench-raw copy MIB          from memory to memory that is there, with all cores
//   crs-bench-raw read FILE MIB     a file into fresh memory, with all cores, through the page cache
//   crs-bench-raw cold FILE MIB     the same after the file was dropped from the page cache
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kPiece = std::size_t{4} << 20;

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::exit(1);
}

double seconds(const std::function<void()>& action) {
  const auto begin = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::byte* fresh_memory(std::size_t bytes, bool fill) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) give_up("mmap");
  madvise(memory, bytes, MADV_HUGEPAGE);
  if (fill) {
    auto* const words = static_cast<std::uint64_t*>(memory);
    std::uint64_t number = 1;
    for (std::size_t i = 0; i < bytes / 8; ++i) words[i] = number = number * 6364136223846793005 + 1442695040888963407;
  }
  return static_cast<std::byte*>(memory);
}

void in_pieces(std::size_t bytes, unsigned threads, const std::function<void(std::size_t)>& action) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::thread> workers;
  for (unsigned i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      for (std::size_t at = next.fetch_add(kPiece); at < bytes; at = next.fetch_add(kPiece)) action(at);
    });
  }
  for (std::thread& worker : workers) worker.join();
}

double write_once(const char* path, std::size_t bytes, int flags, unsigned threads, const std::byte* source) {
  unlink(path);
  const int file = open(path, O_WRONLY | O_CREAT | O_EXCL | flags, 0600);
  if (file < 0) return 1e9;
  const double taken = seconds([&] {
    in_pieces(bytes, threads, [&](std::size_t at) {
      if (pwrite(file, source, kPiece, static_cast<off_t>(at)) != static_cast<ssize_t>(kPiece)) give_up("pwrite");
    });
    if (fsync(file) != 0) give_up("fsync");
  });
  close(file);
  return taken;
}

void read_all(const char* path, std::size_t bytes, bool cold) {
  const int file = open(path, O_RDONLY);
  if (file < 0) give_up(path);
  if (cold) {
    if (fsync(file) != 0 || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) != 0) give_up("fadvise");
  } else {
    std::vector<std::byte> piece(kPiece);
    for (std::size_t at = 0; at < bytes; at += kPiece)
      if (pread(file, piece.data(), kPiece, static_cast<off_t>(at)) <= 0) give_up("pread");
  }
  std::byte* const memory = fresh_memory(bytes, false);
  std::printf("%.6f\n", seconds([&] {
                in_pieces(bytes, std::thread::hardware_concurrency(), [&](std::size_t at) {
                  for (std::size_t done = 0; done < kPiece;) {
                    const ssize_t got = pread(file, memory + at + done, kPiece - done, static_cast<off_t>(at + done));
                    if (got <= 0) give_up("pread");
                    done += static_cast<std::size_t>(got);
                  }
                });
              }));
}

}  // namespace

int main(int count, char** arguments) {
  const std::string_view what = count > 2 ? arguments[1] : "";
  const std::size_t bytes = (std::strtoul(arguments[count - 1], nullptr, 10) << 20) / kPiece * kPiece;
  if (what == "write" && count == 4) {
    const std::byte* const source = fresh_memory(kPiece, true);
    const double direct = write_once(arguments[2], bytes, O_DIRECT, 2, source);
    const double buffered = write_once(arguments[2], bytes, 0, 2, source);
    std::printf("%.6f %.6f\n", direct, buffered);
  } else if (what == "copy" && count == 3) {
    const std::byte* const source = fresh_memory(bytes, true);
    std::byte* const target = fresh_memory(bytes, true);
    std::printf("%.6f\n", seconds([&] {
                  in_pieces(bytes, std::thread::hardware_concurrency(),
                            [&](std::size_t at) { std::memcpy(target + at, source + at, kPiece); });
                }));
  } else if ((what == "read" || what == "cold") && count == 4) {
    read_all(arguments[2], bytes, what == "cold");
  } else {
    std::fputs("usage: crs-bench-raw write|read|cold FILE MIB, crs-bench-raw copy MIB\n", stderr);
    return 2;
  }
}
