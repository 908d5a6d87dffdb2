// The hot parts by themselves, with Google Benchmark: scanning pages, reading another process's memory, checksums,
// writing extents, a remote system call.
#include <benchmark/benchmark.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>

#include "base/hash.h"
#include "base/page_buffer.h"
#include "engine/pages/page_scan.h"
#include "engine/pages/page_transfer.h"
#include "engine/tracee/borrowed_process.h"
#include "engine/tracee/child_signal.h"
#include "engine/tracee/memory_sharer.h"
#include "store/extents/extent_file.h"

namespace {

using namespace crs;
using namespace crs::engine;

constexpr std::size_t kBytes = std::size_t{256} << 20;
constexpr std::size_t kPiece = std::size_t{1} << 20;

// A child with that much memory, which waits.
class Child {
 public:
  Child() {
    memory_ = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ::madvise(memory_, kBytes, MADV_NOHUGEPAGE);
    std::memset(memory_, 1, kBytes);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      while (true) ::pause();
    }
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::munmap(memory_, kBytes);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  RemoteRange memory() const {
    const RemoteAddress start{reinterpret_cast<std::uint64_t>(memory_)};
    return {start, start + kBytes};
  }

 private:
  void* memory_;
  pid_t pid_;
};

void page_scan(benchmark::State& state) {
  const Child child;
  const Pagemap pagemap(child.pid());
  for (auto _ : state) {
    PageScan scan(pagemap, child.memory());
    for (PageRange found; scan.next(found);) benchmark::DoNotOptimize(found);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(kBytes) * state.iterations());
}
BENCHMARK(page_scan)->Unit(benchmark::kMicrosecond);

void remote_read(benchmark::State& state) {
  const Child child;
  const RemoteMemory memory(child.pid());
  const PageBuffer buffer(kPiece);
  std::uint64_t at = 0;
  for (auto _ : state) {
    const RemoteRange run{child.memory().start + at, child.memory().start + at + kPiece};
    read_runs(memory, std::span(&run, 1), buffer.first(kPiece));
    at = (at + kPiece) % kBytes;
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(kPiece) * state.iterations());
}
BENCHMARK(remote_read)->Unit(benchmark::kMicrosecond);

void checksum(benchmark::State& state) {
  const PageBuffer buffer(kPiece);
  std::memset(buffer.first(kPiece).data(), 7, kPiece);
  for (auto _ : state) benchmark::DoNotOptimize(hash128(buffer.first(kPiece)));
  state.SetBytesProcessed(static_cast<std::int64_t>(kPiece) * state.iterations());
}
BENCHMARK(checksum)->Unit(benchmark::kMicrosecond);

void extents(benchmark::State& state) {
  std::string directory = (std::filesystem::temp_directory_path() / "crs-bench-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) return state.SkipWithError("no directory");
  const PageBuffer buffer(kPiece);
  std::memset(buffer.first(kPiece).data(), 7, kPiece);
  const bool compress = state.range(0) != 0;
  for (auto _ : state) {
    {
      ExtentWriter writer(directory, "pages", {.compression = compress ? Compression::Zstd : Compression::None});
      for (int i = 0; i < 64; ++i) writer.append(buffer.first(kPiece), {});
      writer.finish();
    }
    state.PauseTiming();
    for (const auto& entry : std::filesystem::directory_iterator(directory)) std::filesystem::remove(entry);
    state.ResumeTiming();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(64 * kPiece) * state.iterations());
  std::filesystem::remove_all(directory);
}
BENCHMARK(extents)->Arg(0)->Arg(1)->ArgName("zstd")->Unit(benchmark::kMillisecond)->UseRealTime();

void freeze_and_release(benchmark::State& state) {
  const ChildSignalBlocked child_signal;
  const Child child;
  for (auto _ : state) StoppedProcess process(child.pid());
}
BENCHMARK(freeze_and_release)->Unit(benchmark::kMicrosecond)->UseRealTime();

void remote_call(benchmark::State& state) {
  const ChildSignalBlocked child_signal;
  const Child child;
  StoppedProcess process(child.pid());
  BorrowedProcess borrowed(process, find_gadgets(child.pid(), process.memory()));
  for (auto _ : state) borrowed.main().call("getpid", SYS_getpid);
}
BENCHMARK(remote_call)->Unit(benchmark::kMicrosecond)->UseRealTime();

void sharer(benchmark::State& state) {
  const ChildSignalBlocked child_signal;
  const Child child;
  StoppedProcess process(child.pid());
  BorrowedProcess borrowed(process, find_gadgets(child.pid(), process.memory()));
  for (auto _ : state) MemorySharer(borrowed.main());
}
BENCHMARK(sharer)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
