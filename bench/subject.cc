// What crs-bench takes snapshots of: memory of a given size and content, rewritten at a given rate by a given number of
// threads, each of which looks at the clock all the time and remembers the longest time that it did not get to do so.
//
//   crs-bench-subject MIB CONTENT THREADS MIB_PER_SECOND PAGES
//
// CONTENT is random, text or zero; PAGES is small or huge. Prints the address of its record (struct Record) and then
// ticks until it is killed. The record is read, and reset, through /proc/PID/mem, so that the subject does nothing
// else.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr int kMostThreads = 64;

// Of one thread, in nanoseconds of CLOCK_REALTIME: CLOCK_MONOTONIC does not show a program how long it was away.
// bench/crs_bench.py knows this layout.
struct alignas(64) ThreadRecord {
  std::atomic<std::uint64_t> ticks;
  std::atomic<std::uint64_t> longest_gap;
  std::atomic<std::uint64_t> longest_gap_end;
  std::atomic<std::uint64_t> pages_written;
  std::atomic<std::uint64_t> reset;  // set to 1 from outside: the gap counts from now on
  std::atomic<std::uint64_t> touch;  // set from outside: every so many'th page is rewritten once; 0: it has been
};

struct Record {
  std::uint64_t threads = 0;
  std::array<ThreadRecord, kMostThreads> of{};
};

Record record;

std::uint64_t now() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1000000000 + static_cast<std::uint64_t>(time.tv_nsec);
}

// xorshift64*: fast, and nothing a compressor could find.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1d;
  }

 private:
  std::uint64_t state_;
};

// Words of a made-up language, the first ones far more frequent than the last.
class Words {
 public:
  Words() {
    Random random(7);
    for (std::string& word : words_) {
      const std::size_t length = 2 + random.next() % 9;
      for (std::size_t i = 0; i < length; ++i) word += "etaoinshrdlucmfw"[random.next() % 16];
      word += ' ';
    }
  }
  const std::string& any(Random& random) const {
    const std::uint64_t number = random.next();
    return words_[(number & 0xfff) % (1 + (number >> 16 & 0xfff))];
  }

 private:
  std::array<std::string, 4096> words_;
};

class Content {
 public:
  explicit Content(std::string_view name) : name_(name) {}

  void fill(std::byte* page, Random& random) const {
    if (name_ == "text") {
      for (std::size_t at = 0; at < kPage;) {
        const std::string& word = words_.any(random);
        const std::size_t bytes = std::min(word.size(), kPage - at);
        std::memcpy(page + at, word.data(), bytes);
        at += bytes;
      }
    } else if (name_ == "random") {
      for (std::size_t at = 0; at < kPage; at += 8) {
        const std::uint64_t number = random.next();
        std::memcpy(page + at, &number, sizeof number);
      }
    } else {
      std::memset(page, 0, kPage);
    }
  }

 private:
  std::string_view name_;
  Words words_;
};

std::byte* map_memory(std::size_t bytes, bool huge) {
  // Room to begin at a multiple of the huge page's size.
  void* const place =
      mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return nullptr;
  const auto address = (reinterpret_cast<std::uintptr_t>(place) + kHugePage - 1) / kHugePage * kHugePage;
  auto* const memory = reinterpret_cast<std::byte*>(address);  // NOLINT(performance-no-int-to-ptr): rounded up
  madvise(memory, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return memory;
}

// One thread's part of the memory, and the rate at which it is rewritten from its beginning to its end and again.
struct Part {
  std::byte* memory;
  std::size_t pages;
  double pages_per_second;
};

[[noreturn]] void tick(ThreadRecord& mine, const Part& part, const Content& content) {
  constexpr std::uint64_t kPagesAtOnce = 4;
  Random random(reinterpret_cast<std::uintptr_t>(&mine));
  std::uint64_t written = 0;
  std::uint64_t begin = now();
  for (std::uint64_t last = begin;; ++mine.ticks) {
    const std::uint64_t time = now();
    if (mine.reset.exchange(0) != 0) {
      mine.longest_gap = 0;
    } else if (time - last > mine.longest_gap) {
      mine.longest_gap = time - last;
      mine.longest_gap_end = time;
    }
    last = time;
    if (const std::uint64_t step = mine.touch; step != 0) {
      for (std::uint64_t page = 0; page < part.pages; page += step) content.fill(part.memory + page * kPage, random);
      mine.touch = 0;
    }
    const auto due = static_cast<std::uint64_t>(static_cast<double>(time - begin) / 1e9 * part.pages_per_second);
    // What was missed in a long pause is not made up for.
    if (due > written + 1024) begin = time, written = 0;
    for (std::uint64_t i = 0; i < kPagesAtOnce && written < due && part.pages > 0; ++i, ++written, ++mine.pages_written)
      content.fill(part.memory + mine.pages_written % part.pages * kPage, random);
  }
}

}  // namespace

int main(int argument_count, char** arguments) {
  if (argument_count != 6) {
    std::fputs("usage: crs-bench-subject MIB random|text|zero THREADS MIB_PER_SECOND small|huge\n", stderr);
    return 2;
  }
  const std::size_t pages = std::strtoul(arguments[1], nullptr, 10) << 20 >> 12;
  const Content content(arguments[2]);
  const std::size_t threads = std::clamp(std::strtoul(arguments[3], nullptr, 10), 1UL, std::size_t{kMostThreads});
  const double pages_per_second = std::strtod(arguments[4], nullptr) * 256 / static_cast<double>(threads);
  std::byte* const memory = map_memory(pages * kPage, std::string_view(arguments[5]) == "huge");
  if (memory == nullptr) return std::perror("mmap"), 1;

  record.threads = threads;
  std::vector<std::thread> workers;
  const auto part_of = [&](std::size_t number) {
    return Part{memory + number * (pages / threads) * kPage, pages / threads, pages_per_second};
  };
  std::atomic<std::size_t> filled = 0;
  const auto work = [&](std::size_t number) {
    const Part part = part_of(number);
    Random random(number + 1);
    for (std::size_t page = 0; page < part.pages; ++page) content.fill(part.memory + page * kPage, random);
    if (++filled == threads) {
      std::printf("%zu\n", reinterpret_cast<std::size_t>(&record));
      std::fflush(stdout);
    }
    tick(record.of[number], part, content);
  };
  for (std::size_t number = 1; number < threads; ++number) workers.emplace_back(work, number);
  work(0);
}
