// What crs-bench has done once by itself and once under `crs run`, to see whether that costs anything. Prints seconds.
//
//   crs-bench-work calls|faults|threads|processes|compute
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

namespace {

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::exit(1);
}

void make_system_calls() {
  for (int i = 0; i < 3'000'000; ++i) ::syscall(SYS_getppid);
}

void touch_pages() {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  constexpr std::size_t kPage = 4096;
  for (int i = 0; i < 8; ++i) {
    void* const memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) give_up("mmap");
    for (std::size_t at = 0; at < kBytes; at += kPage) static_cast<volatile char*>(memory)[at] = 1;
    ::munmap(memory, kBytes);
  }
}

void start_threads() {
  for (int i = 0; i < 10'000; ++i) std::thread([] {}).join();
}

void start_processes() {
  std::string name = "true";
  char* const arguments[] = {name.data(), nullptr};
  for (int i = 0; i < 500; ++i) {
    pid_t child = 0;
    if (::posix_spawn(&child, "/bin/true", nullptr, nullptr, arguments, environ) != 0) give_up("/bin/true");
    if (::waitpid(child, nullptr, 0) != child) give_up("waitpid");
  }
}

void compute() {
  std::uint64_t number = 1;
  for (int i = 0; i < 400'000'000; ++i) number = number * 6364136223846793005 + 1442695040888963407;
  // Nobody wants to know it, but the compiler must not see that.
  if (number == 0) std::puts("zero");
}

void (*work_named(const std::string& name))() {
  if (name == "calls") return make_system_calls;
  if (name == "faults") return touch_pages;
  if (name == "threads") return start_threads;
  if (name == "processes") return start_processes;
  if (name == "compute") return compute;
  return nullptr;
}

}  // namespace

int main(int count, char** arguments) {
  void (*const work)() = count == 2 ? work_named(arguments[1]) : nullptr;
  if (work == nullptr) {
    std::fputs("usage: crs-bench-work calls|faults|threads|processes|compute\n", stderr);
    return 2;
  }
  const auto begin = std::chrono::steady_clock::now();
  work();
  std::printf("%.6f\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}
