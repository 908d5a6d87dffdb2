// Memory that is copied while the program goes on: what the extents hold at the end is compared, page by page, with all
// that the frozen program had. The program does at random what can be done to memory, as fast as it can.
//
// CRS_TEST_HISTORIES=N: so many histories instead of a few; CRS_TEST_SEED=N: begins with that one.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <thread>

#include "base/io.h"
#include "engine/pages/compaction.h"
#include "engine/pages/process_pages.h"
#include "engine/procfs/maps.h"
#include "engine/resources/memory/memory.h"
#include "engine/short_stop.h"
#include "engine/tracee/borrowed_process.h"
#include "engine/tracee/child_signal.h"
#include "engine/tracee/gadgets.h"
#include "pages/child.h"

#ifdef __SANITIZE_ADDRESS__
extern "C" void __sanitizer_purge_allocator();  // sanitizer/allocator_interface.h, which GCC does not come with
#endif

namespace crs::engine {
namespace {

constexpr std::uint64_t kFirstSlot = 0x566000000000;
constexpr std::uint64_t kSlotBytes = std::uint64_t{8} << 20;
constexpr std::size_t kSlots = 4;
constexpr std::size_t kPagesInSlot = kSlotBytes / kPageSize;
constexpr std::size_t kLeftAlone = std::size_t{16} << 20;

// What runs in the child. Its memory is in slots, each of which is one area, or none.
class Churn {
 public:
  Churn(unsigned seed, int file) : random_(seed), file_(file) {
    for (std::size_t slot = 0; slot < kSlots; ++slot) {
      map(slot, MAP_ANONYMOUS, -1);
      for (std::size_t page = 0; page < kPagesInSlot; ++page) write(slot, page);
    }
    leave_alone();
  }

  [[noreturn]] void run() {
    while (true) step();
  }

 private:
  struct Slot {
    std::size_t pages = 0;  // 0: nothing is mapped
    bool writable = false;
  };

  // Behind the slots: what a snapshot can have from the one before in any case, and what is there whatever becomes of
  // the slots.
  void leave_alone() {
    void* const memory = ::mmap(at(kSlots), kLeftAlone, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (memory != at(kSlots)) throw std::runtime_error("no memory to be left alone");
    const std::span<std::uint64_t> numbers(static_cast<std::uint64_t*>(memory), kLeftAlone / sizeof(std::uint64_t));
    std::ranges::generate(numbers, [&] { return random_(); });
  }
  std::size_t below(std::size_t limit) { return random_() % limit; }
  static std::byte* at(std::size_t slot, std::size_t page = 0) {
    return reinterpret_cast<std::byte*>(kFirstSlot + slot * 2 * kSlotBytes + page * kPageSize);
  }

  void map(std::size_t slot, int flags, int file) {
    const std::size_t pages = below(4) == 0 ? 1 + below(kPagesInSlot) : kPagesInSlot;
    ::munmap(at(slot), kSlotBytes);
    void* const got =
        ::mmap(at(slot), pages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE | flags, file, 0);
    slots_[slot] = {got == at(slot) ? pages : 0, true};
  }
  void write(std::size_t slot, std::size_t page) {
    if (page >= slots_[slot].pages || !slots_[slot].writable) return;
    if (below(6) == 0) {
      std::memset(at(slot, page), 0, kPageSize);
    } else {
      const std::uint64_t number = random_();
      for (std::size_t i = 0; i < kPageSize; i += 512) std::memcpy(at(slot, page) + i, &number, sizeof number);
    }
  }
  void move(std::size_t from, std::size_t to) {
    if (from == to || slots_[from].pages == 0) return;
    const std::size_t bytes = slots_[from].pages * kPageSize;
    ::munmap(at(to), kSlotBytes);
    slots_[to] = {};
    if (::mremap(at(from), bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at(to)) == at(to))
      slots_[to] = std::exchange(slots_[from], {});
  }
  void resize(std::size_t slot) {
    const std::size_t pages = 1 + below(kPagesInSlot);
    if (slots_[slot].pages > 0 && ::mremap(at(slot), slots_[slot].pages * kPageSize, pages * kPageSize, 0) == at(slot))
      slots_[slot].pages = pages;
  }
  void advise(std::size_t slot, int advice) {
    if (slots_[slot].pages == 0) return;
    const std::size_t first = below(slots_[slot].pages);
    ::madvise(at(slot, first), (1 + below(slots_[slot].pages - first)) * kPageSize, advice);
  }
  void protect(std::size_t slot) {
    constexpr std::array kKinds{PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE};
    const int kind = kKinds[below(kKinds.size())];
    if (::mprotect(at(slot), slots_[slot].pages * kPageSize, kind) == 0)
      slots_[slot].writable = (kind & PROT_WRITE) != 0;
  }
  void fork_and_write(std::size_t slot) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (std::size_t page = 0; page < 20; ++page) write(slot, page);
      ::_exit(0);
    }
    for (std::size_t page = 0; page < 20; ++page) write(slot, page);
    ::waitpid(child, nullptr, 0);
  }
  // The kernel writes, or, where the file system can, a device does.
  void read_file(std::size_t slot) {
    if (slots_[slot].pages < 32 || !slots_[slot].writable) return;
    const std::size_t page = below(slots_[slot].pages - 31);
    static_cast<void>(::pread(file_, at(slot, page), 32 * kPageSize, static_cast<off_t>(below(256) * kPageSize)));
  }

  // More regions than the kernel hands over at a time (PAGEMAP_SCAN).
  void scatter(std::size_t slot) {
    for (std::size_t page = below(2); page < slots_[slot].pages; page += 1 + below(3)) write(slot, page);
  }

  void step() {
    const std::size_t slot = below(kSlots);
    switch (below(64)) {
      case 0:
        return map(slot, MAP_ANONYMOUS, -1);
      case 1:
        return map(slot, 0, file_);
      case 2:
        return move(slot, below(kSlots));
      case 3:
        return resize(slot);
      case 4:
        return advise(slot, MADV_DONTNEED);
      case 5:
        return advise(slot, MADV_FREE);
      case 6:
        return advise(slot, MADV_HUGEPAGE);
      case 7:
        return protect(slot);
      case 8:
        return below(8) == 0 ? fork_and_write(slot) : void();
      case 9:
        ::munmap(at(slot), kSlotBytes);
        slots_[slot] = {};
        return;
      case 10:
        return map(slot, MAP_ANONYMOUS, -1);
      case 11:
      case 12:
        return read_file(slot);
      case 13:
        return move(slot, (slot + 1) % kSlots), move((slot + 1) % kSlots, slot);
      case 14:
      case 15:
        return scatter(slot);
      default:
        for (std::size_t page = below(kPagesInSlot), count = below(30); count > 0; --count) write(slot, page++);
        std::this_thread::sleep_for(std::chrono::microseconds(below(200)));
    }
  }

  std::mt19937 random_;
  int file_;
  std::array<Slot, kSlots> slots_{};
};

using Page = std::array<std::byte, kPageSize>;

// What the frozen program had.
struct Frozen {
  std::vector<MapsLine> maps;
  std::vector<RemoteRange> reserved;  // not compared
  std::map<RemoteAddress, Page> pages;
  std::string obstacle;
};

struct Row {
  bool goes_on = false;
  TrackedProcess tracked{};
  EarlierPages earlier{};
};

class PrecopyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "crs-precopy-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    FileDescriptor file = open_file(directory_ + "/mapped", O_RDWR | O_CREAT);
    std::mt19937 random(1);
    std::vector<std::uint32_t> content(kSlotBytes / sizeof(std::uint32_t));
    std::ranges::generate(content, random);
    write_all(file.get(), "mapped", std::as_bytes(std::span(content)));
    ASSERT_EQ(::fsync(file.get()), 0);
    file_ = FileDescriptor(::open((directory_ + "/mapped").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
    if (!file_) file_ = std::move(file);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Frozen take(pid_t pid, const std::string& directory, Row& row);
  void compare(const std::string& directory, const Frozen& frozen);
  // `length`: so many snapshots of each program, each going on from the one before.
  void check_history(unsigned seed, int length);
  void check_histories(int count, int length = 1);

  PauseBudget budget_;
  int twins_ = 0;
  int referred_ = 0;  // snapshots that hold something of an earlier one
  std::string directory_;
  FileDescriptor file_;
  std::uint64_t copied_before_ = 0;
};

bool is_private_memory(const MapsLine& line) {
  return !line.shared && !line.name.starts_with("[v") && line.range.start < RemoteAddress{0x800000000000};
}

// The memory of a sanitizer: shadows of terabytes, and a heap that keeps what is freed, the pages of all earlier
// comparisons in it. Nothing that could be compared page by page.
bool is_reserved([[maybe_unused]] const MapsLine& line) {
#ifdef __SANITIZE_ADDRESS__
  constexpr RemoteAddress kEnd{kFirstSlot + 2 * kSlots * kSlotBytes + kLeftAlone};
  return line.range.start < RemoteAddress{kFirstSlot} || line.range.start >= kEnd;
#else
  return false;
#endif
}

std::vector<PageArea> private_areas(pid_t pid) {
  std::vector<PageArea> areas;
  for (const MappedArea& area : read_smaps(pid)) {
    if (!is_private_memory(area)) continue;
    areas.push_back({.range = area.range,
                     .readable = area.permits(PROT_READ),
                     .starts_zero = area.inode == 0,
                     .in_fork = !area.has("dc") && !area.has("wf"),
                     .content = {}});
  }
  return areas;
}

// Zeros where nothing can be read.
Page read_page(const RemoteMemory& memory, RemoteAddress address) {
  Page page{};
  try {
    memory.read_protected(address, page);
  } catch (const Error&) {
    page = {};
  }
  return page;
}

// What a fresh mapping shows.
Page fresh_page(const MapsLine& line, RemoteAddress address, std::map<std::string, FileDescriptor>& files) {
  Page page{};
  if (line.inode == 0) return page;
  FileDescriptor& file = files[line.name];
  if (!file) file = open_file(line.name, O_RDONLY);
  const std::uint64_t offset = line.offset + (address - line.range.start);
  static_cast<void>(::pread(file.get(), page.data(), page.size(), static_cast<off_t>(offset)));
  return page;
}

// Each snapshot of a row lies in a directory of its own, as in the store, and goes on from the one before.
Frozen PrecopyTest::take(pid_t pid, const std::string& directory, Row& row) {
  Frozen frozen;
  std::filesystem::create_directory(directory);
  ExtentWriter writer(directory, "pages");
  ProcessPages pages(writer, budget_);
  RememberedWaits remembered({}, pid);
  const Gadgets gadgets = find_gadgets(pid, RemoteMemory(pid));
  ShortStops stops(pid, pid, {}, remembered, gadgets);
  auto survey = look_at_memory(pid);
  for (MappedArea& area : survey.areas) {
    // What it says of the row's own tracking, as Incremental::hide_tracking() does.
    if (!common_parts(area.range, row.tracked.areas).empty()) area.hide_tracking();
  }
  if (row.tracked.userfault) pages.continue_from(row.earlier, std::move(row.tracked));
  const auto stop = [&](const auto& action) { stops.stop(action); };
  const std::string obstacle = pages.copy_ahead(pid, areas_to_copy_ahead(survey, {}), stop);
  pages.catch_up(stop);
  if (!pages.tracks()) {
    frozen.obstacle = "this kernel cannot track writes: " + obstacle;
    return frozen;
  }
  copied_before_ += writer.payload_bytes();
  StoppedProcess process(pid);
  pages.take(process.memory(), private_areas(pid), [&](RemoteRange& scratch) {
    BorrowedProcess borrowed(process, gadgets);
    scratch = borrowed.scratch_range();
    return std::make_unique<Twin>(borrowed);
  });
  twins_ += pages.twin() != 0 ? 1 : 0;
  frozen.maps = read_maps(pid);
  std::erase_if(frozen.maps, [](const MapsLine& line) { return !is_private_memory(line); });
  for (const MapsLine& line : frozen.maps) {
    if (is_reserved(line)) frozen.reserved.push_back(line.range);
  }
  std::erase_if(frozen.maps, is_reserved);
  for (const MapsLine& line : frozen.maps) {
    for (RemoteAddress page = line.range.start; page < line.range.end; page = page + kPageSize)
      frozen.pages.emplace(page, read_page(process.memory(), page));
  }
  process.release();
  row.tracked = {.pid = pid, .userfault = {}, .areas = {}};
  pages.finish(row.goes_on ? &row.tracked : nullptr);
  writer.finish();
  referred_ += pages.uses_earlier() ? 1 : 0;
  row.earlier = {.sequence = row.earlier.sequence + 1,
                 .reader = std::make_shared<const ExtentReader>(directory, "pages"),
                 .extents = {}};
  for (std::size_t i = 0; i < row.earlier.reader->extents().size(); ++i) row.earlier.extents.push_back(i);
  return frozen;
}

// A child has this process's heap: with the freed pages of all earlier comparisons in it each history would be larger
// than the one before.
void give_back_heap() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_purge_allocator();
#else
  ::malloc_trim(0);
#endif
}

void PrecopyTest::check_history(unsigned seed, int length) {
  SCOPED_TRACE(seed);
  give_back_heap();
  const test::Child child([&] {
    auto* const churn = new Churn(seed, file_.get());
    std::thread([=] { churn->run(); }).detach();
    return true;
  });
  const std::string history = directory_ + "/" + std::to_string(seed);
  std::filesystem::create_directory(history);
  Row row{.goes_on = length > 1};
  std::vector<Frozen> taken;
  for (int number = 1; number <= length; ++number) {
    taken.push_back(take(child.pid(), history + "/" + std::to_string(number), row));
    if (!taken.back().obstacle.empty()) GTEST_SKIP() << taken.back().obstacle;
  }
  for (int number = 1; number <= length && !HasFatalFailure(); ++number)
    compare(history + "/" + std::to_string(number), taken[static_cast<std::size_t>(number - 1)]);
  if (length > 1 && !HasFatalFailure()) {
    std::filesystem::create_directory(history + "/anew");
    compact_pages(history + "/" + std::to_string(length), history + "/anew", "pages", {});
    compare(history + "/anew", taken.back());
  }
  std::filesystem::remove_all(history);
}

// Where the main thread runs (rseq(2)) the kernel writes down whenever it has moved to another processor: a twin has it
// as of its birth. A child has the place of this thread, which made it.
void leave_out_processor(RemoteAddress page, Page& content, const Page& expected) {
  constexpr std::size_t kBytes = 32;  // struct rseq
  const RemoteAddress place{reinterpret_cast<std::uint64_t>(__builtin_thread_pointer()) +
                            static_cast<std::uint64_t>(__rseq_offset)};
  if (place < page || page + kPageSize < place + kBytes) return;
  const auto at = static_cast<std::ptrdiff_t>(place - page);
  std::copy_n(expected.begin() + at, kBytes, content.begin() + at);
}

void PrecopyTest::compare(const std::string& directory, const Frozen& frozen) {
  const ExtentReader reader(directory, "pages");
  std::map<RemoteAddress, Page> saved;
  for (std::size_t number = 0; number < reader.extents().size(); ++number) {
    const Extent& extent = reader.extents()[number];
    std::vector<std::byte> payload(extent.payload_bytes);
    reader.read(number, payload);
    const ExtentPages pages = decode_pages(extent.tag, extent.payload_bytes);
    const std::span<std::byte> bytes = pages.gather(payload);
    std::size_t at = 0;
    for (const RemoteRange& run : pages.runs) {
      for (RemoteAddress page = run.start; page < run.end; page = page + kPageSize, at += kPageSize) {
        const auto [place, is_new] = saved.try_emplace(page);
        ASSERT_TRUE(is_new) << "page " << std::hex << page.value << " counts twice";
        std::ranges::copy(bytes.subspan(at, kPageSize), place->second.begin());
      }
    }
  }
  std::map<std::string, FileDescriptor> files;
  std::size_t compared = 0;
  for (const MapsLine& line : frozen.maps) {
    for (RemoteAddress page = line.range.start; page < line.range.end; page = page + kPageSize, ++compared) {
      const auto found = saved.find(page);
      const Page& expected = frozen.pages.at(page);
      Page content = found != saved.end() ? found->second : fresh_page(line, page, files);
      leave_out_processor(page, content, expected);
      ASSERT_EQ(std::memcmp(content.data(), expected.data(), kPageSize), 0)
          << "page " << std::hex << page.value << " of " << line.name << (found != saved.end() ? " (saved)" : "")
          << " differs";
      if (found != saved.end()) saved.erase(found);
    }
  }
  for (const RemoteRange& range : frozen.reserved)
    saved.erase(saved.lower_bound(range.start), saved.lower_bound(range.end));
  ASSERT_TRUE(saved.empty()) << "a page at " << std::hex << saved.begin()->first.value << " that is not there";
  ASSERT_GE(compared, kLeftAlone / kPageSize);
}

void PrecopyTest::check_histories(int count, int length) {
  const ChildSignalBlocked child_signal;
  const char* const wanted = std::getenv("CRS_TEST_HISTORIES");
  const char* const first = std::getenv("CRS_TEST_SEED");
  if (wanted != nullptr) count = std::atoi(wanted);
  const unsigned seed = first != nullptr ? static_cast<unsigned>(std::atoi(first)) : std::random_device{}() / 2;
  for (int i = 0; i < count && !HasFatalFailure() && !IsSkipped(); ++i)
    check_history(seed + static_cast<unsigned>(i), length);
  EXPECT_TRUE(IsSkipped() || copied_before_ > 0);
}

// Where there is room for all that the program may have written meanwhile, however slowly it is copied, no twin is
// made.
TEST_F(PrecopyTest, SavesExactlyWhatTheFrozenProgramHas) {
  budget_.most_held = std::size_t{1} << 30;
  check_histories(6);
  EXPECT_EQ(twins_, 0);
}

TEST_F(PrecopyTest, GoesOnFromTheSnapshotBefore) {
  check_histories(1, 3);
  EXPECT_TRUE(IsSkipped() || referred_ > 0);
}

TEST_F(PrecopyTest, LeavesTheRestToATwin) {
  budget_ = {.most_held = 64 << 10, .seconds_per_byte_forked = 0, .seconds_per_fork = 0};
  check_histories(3);
  EXPECT_TRUE(IsSkipped() || twins_ > 0);
}

}  // namespace
}  // namespace crs::engine
