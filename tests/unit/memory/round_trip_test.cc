// A child's address space is captured, built again in a newborn process and compared, without any thread of it running
// on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/io.h"
#include "engine/pages/page_scan.h"
#include "engine/pages/process_pages.h"
#include "engine/resources/descriptors/content_objects.h"
#include "engine/resources/memory/memory.h"
#include "engine/tracee/borrowed_process.h"
#include "engine/tracee/child_signal.h"
#include "pages/child.h"
#include "process/one_newborn.h"

namespace crs::engine {
namespace {

using test::Child;
using test::OneNewborn;
using ::testing::HasSubstr;

// Far from anything that a process has by itself, and where the sanitizers let it have memory.
constexpr std::uint64_t kBase = 0x566000000000;
constexpr int kFirstPrivateDescriptor = 500;
constexpr int kFirstMemoryDescriptor = 600;

char* at(std::uint64_t page) { return reinterpret_cast<char*>(kBase + page * kPageSize); }

bool map(std::uint64_t page, std::uint64_t pages, int protection, int flags = MAP_PRIVATE | MAP_ANONYMOUS,
         int file = -1, std::uint64_t offset_pages = 0) {
  return ::mmap(at(page), pages * kPageSize, protection, flags | MAP_FIXED_NOREPLACE, file,
                static_cast<off_t>(offset_pages * kPageSize)) == at(page);
}

class RoundTripTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "crs-memory-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    std::filesystem::create_directory(directory_ + "/snapshot");
    file_ = directory_ + "/file";
    write_all(open_file(file_, O_CREAT | O_WRONLY).get(), file_, as_byte_span(std::string(8 * kPageSize, 'f')));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  image::Memory capture(pid_t pid) {
    MemorySurvey survey = look_at_memory(pid);
    const Gadgets gadgets = find_gadgets(pid, RemoteMemory(pid));
    const StoppedProcess process(pid);
    BorrowedProcess borrowed(process, gadgets);
    Refusals refusals;
    image::Descriptors descriptors;
    ContentStore content(directory_ + "/snapshot");
    ContentObjects objects(content, descriptors);
    const LeaveOut leave_out;
    CaptureContext context{.pid = pid,
                           .own_pid = pid,
                           .pidfd = -1,
                           .remote = borrowed.main(),
                           .memory = process.memory(),
                           .threads = {pid},
                           .refusals = refusals,
                           .warnings = notes_,
                           .content = content,
                           .leave_out = leave_out,
                           .objects = objects,
                           .options = wishes_};
    image::Memory image;
    const std::vector<PageArea> pages = capture_memory(context, survey, image);
    refusals.throw_if_any();
    ExtentWriter writer(directory_ + "/snapshot", kPagesName, {.compression = Compression::Zstd});
    ProcessPages process_pages(writer);
    process_pages.take(process.memory(), pages);
    record_pages(process_pages.finish(), image);
    writer.finish();
    return image;
  }

  // A newborn with that memory, stopped.
  std::unique_ptr<OneNewborn> restore(const image::Memory& image) {
    const RestartOptions options;
    const ContentStore content(directory_ + "/snapshot");
    CheckContext check{options, content, notes_};
    const PageData pages(directory_ + "/snapshot", kPagesName, 1);
    check_memory(check, image, 0, pages);
    const auto prepare = [&] {
      std::vector<std::string> notes;
      NewbornContext context{options, content, notes, {-1, -1, -1}, kFirstPrivateDescriptor};
      restore_memory_inside(context, image, kFirstMemoryDescriptor);
      return notes;
    };
    auto newborn = std::make_unique<OneNewborn>(IdPlan{.way = IdPlan::Way::Fresh, .note = {}}, 0,
                                                kFirstPrivateDescriptor, prepare);
    newborn->start();
    newborn->process().take_over();
    reserved_ = newborn->process().settle(occupied_ranges(image));
    NewbornThread& main = newborn->process().main_thread();
    const ptrace::RseqConfiguration rseq = ptrace::rseq_configuration(main.tid());
    if (rseq.address != 0) main.call("rseq", SYS_rseq, rseq.address, rseq.size, 1, rseq.signature);
    RestoreContext context{.pid = newborn->process().pid(),
                           .remote = main,
                           .memory = newborn->process().memory(),
                           .options = options,
                           .content = content,
                           .notes = notes_,
                           .first_private_descriptor = kFirstPrivateDescriptor,
                           .reserved = reserved_,
                           .threads = {},
                           .new_ids = {}};
    const SharedPlaces shared;
    MemoryRestore memory(context, image, pages, shared, kFirstMemoryDescriptor);
    memory.map_areas();
    memory.load_pages();
    memory.finish();
    return newborn;
  }

  // smaps of a newborn without what the remote caller needs.
  std::vector<MappedArea> areas_of(const Newborn& newborn) const {
    std::vector<MappedArea> areas = read_smaps(newborn.pid());
    std::erase_if(areas, [&](const MappedArea& area) { return area.range.overlaps(reserved_); });
    return areas;
  }

  // Runs `prepare` in a child, carries its memory over and compares maps, properties and content.
  void expect_same_after(const std::function<bool()>& prepare) {
    const Child child(prepare);
    const image::Memory image = capture(child.pid());
    const std::unique_ptr<OneNewborn> newborn = restore(image);
    expect_same(child.pid(), newborn->process());
  }

  void expect_same(pid_t pid, const Newborn& newborn) {
    const std::vector<MappedArea> before = joined(read_smaps(pid));
    const std::vector<MappedArea> after = joined(areas_of(newborn));
    for (std::size_t i = 0; i < std::min(before.size(), after.size()); ++i) {
      ASSERT_EQ(describe(before[i]), describe(after[i]));
      expect_same_content(pid, newborn, before[i]);
    }
    EXPECT_EQ(before.size(), after.size());
  }

  // Neighbours that differ in nothing are one area or two by their history alone: the kernel joins them when they are
  // made, not when they become equal.
  static std::vector<MappedArea> joined(const std::vector<MappedArea>& areas) {
    std::vector<MappedArea> result;
    for (const MappedArea& area : areas) {
      if (!result.empty() && area.inode == 0 && !area.shared && result.back().range.end == area.range.start) {
        MappedArea longer = result.back();
        longer.range.end = area.range.end;
        MappedArea both = area;
        both.range = longer.range;
        if (describe(longer) == describe(both)) {
          result.back() = longer;
          continue;
        }
      }
      result.push_back(area);
    }
    return result;
  }

  static std::string describe(const MappedArea& area) {
    const bool by_inode = area.inode != 0 && !area.name.starts_with("/dev/zero");
    return fmt::format("{:x}-{:x} {} {} {:x} {} '{}' {} {}", area.range.start.value, area.range.end.value,
                       area.protection, area.shared, area.offset, by_inode ? area.inode : 0, area.name,
                       area.protection_key, area.flags);
  }

  static void expect_same_content(pid_t pid, const Newborn& newborn, const MappedArea& area) {
    if (area.name.starts_with("[v") || area.range.size() > std::uint64_t{1} << 30) return;
    // The kernel goes on writing to the C library's rseq area, and below the stack pointer lies the signal frame of a
    // borrowed thread.
    const bool at_rest = area.inode != 0 || area.name == "[heap]" || area.range.start.value >> 36 == kBase >> 36;
    if (!at_rest) return;
    const auto content = [&](const RemoteMemory& memory) {
      std::vector<std::byte> bytes(area.range.size());
      std::size_t pages_read = 0;
      for (std::size_t done = 0; done < bytes.size(); done += kPageSize) {
        try {
          memory.read_protected(area.range.start + done, std::span(bytes).subspan(done, kPageSize));
          ++pages_read;
        } catch (const Error&) {
          // Guard pages and the like: the same in both.
        }
      }
      bytes.push_back(static_cast<std::byte>(pages_read));
      return bytes;
    };
    EXPECT_TRUE(content(RemoteMemory(pid)) == content(newborn.memory())) << describe(area);
  }

  const ChildSignalBlocked child_signal_;
  std::string directory_;
  std::string file_;
  RemoteRange reserved_;
  std::vector<std::string> notes_;
  CheckpointOptions wishes_;
};

TEST_F(RoundTripTest, AnonymousMemoryOfEveryProtection) {
  expect_same_after([] {
    for (int protection = 0; protection < 8; ++protection) {
      const auto page = static_cast<std::uint64_t>(protection) * 8;
      if (!map(page, 4, PROT_READ | PROT_WRITE)) return false;
      std::memset(at(page), protection + 1, 2 * kPageSize);
      if (::mprotect(at(page), 4 * kPageSize, protection) != 0) return false;
    }
    return map(100, 1000, PROT_READ | PROT_WRITE) && (*at(500) = 1) == 1;
  });
  EXPECT_TRUE(notes_.empty()) << notes_.front();
}

TEST_F(RoundTripTest, AdviceLocksAndReservations) {
  expect_same_after([] {
    const int advice[] = {MADV_DONTFORK, MADV_DONTDUMP, MADV_WIPEONFORK, MADV_SEQUENTIAL,
                          MADV_RANDOM,   MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_MERGEABLE};
    std::uint64_t page = 0;
    for (const int one : advice) {
      if (!map(page, 4, PROT_READ | PROT_WRITE)) return false;
      *at(page + 1) = 'x';
      ::madvise(at(page), 4 * kPageSize, one);
      page += 8;
    }
    if (!map(100, 4, PROT_READ | PROT_WRITE) || ::mlock(at(100), 4 * kPageSize) != 0) return false;
    if (!map(110, 4, PROT_READ | PROT_WRITE) || ::mlock2(at(110), 4 * kPageSize, MLOCK_ONFAULT) != 0) return false;
    if (!map(120, 4, PROT_READ) || ::mlock(at(120), 4 * kPageSize) != 0) return false;
    if (!map(200, 64, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN)) return false;
    return map(1 << 20, std::uint64_t{1} << 28, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  });
}

TEST_F(RoundTripTest, MappedFiles) {
  expect_same_after([&] {
    const FileDescriptor file = open_file(file_, O_RDWR);
    const FileDescriptor read_only = open_file(file_, O_RDONLY);
    if (!map(0, 8, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get())) return false;
    *at(1) = 'p';
    std::memset(at(3), 0, kPageSize);
    if (!map(20, 4, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 2)) return false;
    if (!map(30, 4, PROT_READ, MAP_SHARED, read_only.get())) return false;
    if (!map(40, 4, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 4)) return false;
    std::memset(at(40), 'q', 2 * kPageSize);
    // Two pages beyond the end of the file.
    return ::mprotect(at(40), 4 * kPageSize, PROT_NONE) == 0 && map(50, 4, PROT_READ, MAP_PRIVATE, file.get(), 6);
  });
}

TEST_F(RoundTripTest, SharedMemoryStaysOneObject) {
  const Child child([] {
    if (!map(0, 16, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS)) return false;
    std::memset(at(2), 's', 3 * kPageSize);
    // A second view of all and a third of a part, and pages that are in no page table.
    if (::mremap(at(0), 0, 16 * kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED, at(100)) != at(100)) return false;
    if (::mremap(at(4), 0, 2 * kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED, at(200)) != at(200)) return false;
    if (::mprotect(at(200), 2 * kPageSize, PROT_READ) != 0) return false;
    return ::madvise(at(0), 16 * kPageSize, MADV_DONTNEED) == 0 && ::munmap(at(0), 2 * kPageSize) == 0;
  });
  const std::unique_ptr<OneNewborn> newborn = restore(capture(child.pid()));
  const RemoteMemory& memory = newborn->process().memory();
  memory.write_value(RemoteAddress{kBase + 4 * kPageSize}, 'n');
  EXPECT_EQ(memory.read_value<char>({kBase + 104 * kPageSize}), 'n');
  EXPECT_EQ(memory.read_value<char>({kBase + 200 * kPageSize}), 'n');
  memory.write_value(RemoteAddress{kBase + 4 * kPageSize}, 's');
  expect_same(child.pid(), newborn->process());
}

TEST_F(RoundTripTest, WhatIsLeftOutIsNotSaved) {
  const Child child([] {
    if (!map(0, 64, PROT_READ | PROT_WRITE)) return false;
    std::memset(at(0), 'p', 64 * kPageSize);
    return ::madvise(at(20), 2 * kPageSize, 102) == 0 || true;  // guard pages, where there are such
  });
  const std::uint64_t all = capture(child.pid()).page_bytes();
  wishes_.exclude = {{kBase + 10 * kPageSize - 1, kBase + 40 * kPageSize + 1},
                     {kBase + 30 * kPageSize, kBase + 42 * kPageSize}};
  const std::uint64_t guards = Pagemap(child.pid()).scans() && ::madvise(nullptr, 0, 102) == 0 ? 2 : 0;
  std::filesystem::remove_all(directory_ + "/snapshot");
  std::filesystem::create_directory(directory_ + "/snapshot");
  const image::Memory image = capture(child.pid());
  EXPECT_EQ(all - image.page_bytes(), (32 - guards) * kPageSize);
  ASSERT_EQ(image.excluded_size(), 1);
  EXPECT_EQ(image.excluded(0).start(), kBase + 10 * kPageSize);
  EXPECT_EQ(image.excluded(0).end(), kBase + 42 * kPageSize);
  EXPECT_EQ(image.guards_size(), guards != 0 ? 1 : 0);
  const std::unique_ptr<OneNewborn> newborn = restore(image);
  EXPECT_EQ(newborn->process().memory().read_value<char>({kBase + 10 * kPageSize - 1}), 'p');
  EXPECT_EQ(newborn->process().memory().read_value<char>({kBase + 10 * kPageSize}), '\0');
  EXPECT_EQ(newborn->process().memory().read_value<char>({kBase + 42 * kPageSize - 1}), '\0');
  EXPECT_EQ(newborn->process().memory().read_value<char>({kBase + 42 * kPageSize}), 'p');
}

TEST_F(RoundTripTest, WhatCannotReadAsZeroCannotBeLeftOut) {
  const Child child([&] {
    const FileDescriptor file = open_file(file_, O_RDWR);
    return map(0, 8, PROT_READ, MAP_PRIVATE, file.get()) && map(8, 8, PROT_READ);
  });
  const auto obstacle = [&](std::uint64_t first, std::uint64_t last) -> std::string {
    wishes_.exclude = {{kBase + first * kPageSize, kBase + last * kPageSize}};
    try {
      capture(child.pid());
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  };
  EXPECT_THAT(obstacle(7, 16), HasSubstr("a mapping of " + file_));
  EXPECT_THAT(obstacle(8, 17), HasSubstr("no memory there"));
  EXPECT_THAT(obstacle(9, 9), HasSubstr("no range"));
  EXPECT_THAT(obstacle(std::uint64_t{1} << 36, std::uint64_t{1} << 37), HasSubstr("no range"));
}

TEST_F(RoundTripTest, FilesThatAreGone) {
  const Child child([&] {
    const FileDescriptor file = open_file(file_, O_RDWR);
    if (!map(0, 8, PROT_READ, MAP_PRIVATE, file.get()) || !map(8, 4, PROT_NONE, MAP_PRIVATE, file.get())) return false;
    if (!map(20, 10, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get())) return false;
    *at(22) = 'w';
    return ::unlink(file_.c_str()) == 0;
  });
  const std::unique_ptr<OneNewborn> newborn = restore(capture(child.pid()));
  std::vector<std::byte> before(8 * kPageSize);
  std::vector<std::byte> after(8 * kPageSize);
  for (const std::uint64_t page : {0, 20}) {
    RemoteMemory(child.pid()).read({kBase + page * kPageSize}, before);
    newborn->process().memory().read({kBase + page * kPageSize}, after);
    EXPECT_TRUE(before == after) << page;
  }
  newborn->process().memory().read_protected({kBase + 8 * kPageSize}, std::span(after).first(4 * kPageSize));
  EXPECT_EQ(after[0], std::byte{'f'});
}

TEST_F(RoundTripTest, GuardPages) {
  constexpr int kGuardInstall = 102;
  if (::madvise(nullptr, 0, kGuardInstall) != 0) GTEST_SKIP() << "this kernel has no guard pages";
  expect_same_after([] {
    if (!map(0, 16, PROT_READ | PROT_WRITE)) return false;
    std::memset(at(0), 'g', 16 * kPageSize);
    return ::madvise(at(3), 2 * kPageSize, kGuardInstall) == 0;
  });
}

TEST_F(RoundTripTest, TheKernelsBookkeeping) {
  const Child child([] { return ::sbrk(100000) != reinterpret_cast<void*>(-1); });
  const image::Memory image = capture(child.pid());
  const std::unique_ptr<OneNewborn> newborn = restore(image);
  const auto text = [](pid_t pid, const char* name) { return read_file(fmt::format("/proc/{}/{}", pid, name)); };
  EXPECT_EQ(text(child.pid(), "cmdline"), text(newborn->process().pid(), "cmdline"));
  EXPECT_EQ(text(child.pid(), "environ"), text(newborn->process().pid(), "environ"));
  EXPECT_EQ(text(child.pid(), "auxv"), text(newborn->process().pid(), "auxv"));
  EXPECT_EQ(read_link(fmt::format("/proc/{}/exe", child.pid())),
            read_link(fmt::format("/proc/{}/exe", newborn->process().pid())));
  EXPECT_EQ(newborn->process().main_thread().call("brk", SYS_brk, 0), static_cast<std::int64_t>(image.layout().brk()));
  EXPECT_GE(newborn->process().main_thread().call("brk", SYS_brk, image.layout().brk() + kPageSize),
            static_cast<std::int64_t>(image.layout().brk()));
}

TEST_F(RoundTripTest, AForeignVdsoIsLedToThisKernels) {
  ::setenv("CRS_TEST_FOREIGN_VDSO", "1", 1);
  const Child child([] { return true; });
  const image::Memory image = capture(child.pid());
  const std::unique_ptr<OneNewborn> newborn = restore(image);
  ::unsetenv("CRS_TEST_FOREIGN_VDSO");
  const auto places = [](const std::vector<MappedArea>& areas, std::string_view name) {
    return std::ranges::count(areas, name, &MappedArea::name);
  };
  const std::vector<MappedArea> areas = areas_of(newborn->process());
  EXPECT_EQ(places(areas, "[vdso]"), 1);
  const image::KernelAreas::Part& old =
      *std::ranges::find(image.kernel().parts(), "[vdso]", &image::KernelAreas::Part::name);
  const auto mapped =
      std::ranges::find_if(areas, [&](const MappedArea& area) { return area.range.start.value == old.start(); });
  ASSERT_NE(mapped, areas.end());
  EXPECT_EQ(mapped->name, "");
  EXPECT_EQ(mapped->protection, PROT_READ | PROT_EXEC);
}

TEST_F(RoundTripTest, RefusesWhatCannotBeKept) {
  const Child child([] {
    aio_context_t context = 0;
    iocb never{};
    never.aio_lio_opcode = IOCB_CMD_POLL;
    never.aio_fildes = static_cast<std::uint32_t>(::eventfd(0, 0));
    never.aio_buf = POLLIN;
    iocb* request = &never;
    return ::syscall(SYS_io_setup, 1, &context) == 0 && ::syscall(SYS_io_submit, context, 1, &request) == 1;
  });
  try {
    capture(child.pid());
    FAIL() << "nothing was refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Refused);
    EXPECT_THAT(error.what(), HasSubstr("asynchronous I/O"));
  }
}

TEST_F(RoundTripTest, KnowsTheFirstSystemVSegment) {
  if (::geteuid() != 0) GTEST_SKIP() << "makes an IPC namespace, where ids begin with 0";
  const Child child([] {
    if (::unshare(CLONE_NEWIPC) != 0) return false;
    const int segment = ::shmget(IPC_PRIVATE, kPageSize, IPC_CREAT | 0600);
    return segment == 0 && ::shmat(segment, at(0), 0) == at(0);
  });
  const image::Memory image = capture(child.pid());
  ASSERT_EQ(image.shared_size(), 1);
  EXPECT_TRUE(image.shared(0).has_segment());
  EXPECT_EQ(image.shared(0).segment(), 0);
}

TEST_F(RoundTripTest, SaysWhichMappedFileChanged) {
  const Child child([&] { return map(0, 8, PROT_READ, MAP_PRIVATE, open_file(file_, O_RDONLY).get()); });
  const image::Memory image = capture(child.pid());
  std::filesystem::resize_file(file_, 100);
  try {
    restore(image);
    FAIL() << "not noticed";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(file_ + " has 100 bytes instead of 32768"));
  }
}

}  // namespace
}  // namespace crs::engine
