#include "engine/newborn/newborn.h"

#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/maps.h"
#include "engine/procfs/status.h"

namespace crs::engine {

namespace {

void seize_newborn(pid_t pid) {
  try {
    ptrace::seize(pid, kNewbornOptions);
  } catch (Error& error) {
    const bool has_tracer = ProcessStatus::of(pid).number("TracerPid") != 0;
    if (has_tracer) error.advise("Somebody traces crs and its children: run it without 'strace -f' or a debugger");
    throw;
  }
}

}  // namespace

void Newborn::take_over() {
  if (!is_traced_) seize_newborn(pid_);
  ptrace::interrupt(pid_);
  while (!ptrace::wait_for_stop(pid_).event_stop()) ptrace::resume(PTRACE_CONT, pid_);
  ptrace::set_options(pid_, kNewbornOptions);
  ptrace::set_signal_mask(pid_, ~std::uint64_t{0});
  memory_ = std::make_unique<RemoteMemory>(pid_);
  main_ = std::make_unique<NewbornThread>(pid_, *memory_);
}

namespace {

constexpr std::string_view kSyscall{"\x0f\x05", 2};

}  // namespace

RemoteAddress find_syscall(const std::vector<MapsLine>& mappings, const RemoteMemory& memory) {
  const auto vdso = find_line(mappings, "[vdso]");
  if (!vdso) fail(ErrorKind::Failed, "this system maps no vDSO into its processes");
  std::string code(vdso->range.size(), '\0');
  memory.read(vdso->range.start, std::as_writable_bytes(std::span(code.data(), code.size())));
  const std::size_t found = code.find(kSyscall);
  if (found == std::string::npos) fail(ErrorKind::Failed, "this system's vDSO holds no system call instruction");
  return vdso->range.start + found;
}

namespace {

// The lowest hole of `bytes` outside `taken`, well above address 0 and any brk heap's beginning.
RemoteAddress find_hole(std::vector<RemoteRange> taken, std::uint64_t bytes) {
  std::ranges::sort(taken, {}, &RemoteRange::start);
  RemoteAddress candidate{0x10000000};
  for (const RemoteRange& range : taken) {
    if (candidate + bytes + kPageSize <= range.start) break;
    candidate = std::max(candidate, range.end + kPageSize);
  }
  return candidate;
}

}  // namespace

RemoteRange Newborn::settle(const std::vector<RemoteRange>& occupied) {
  constexpr std::uint64_t kLoopOffset = 64;  // behind the `syscall` instruction
  constexpr std::uint64_t kListOffset = 4 * kPageSize;
  constexpr std::uint64_t kHomeBytes = 20 * kPageSize;
  const std::vector<MapsLine> mappings = read_maps(pid_);
  std::vector<RemoteRange> taken = occupied;
  for (const MapsLine& mapping : mappings) taken.push_back(mapping.range);
  const RemoteAddress home = find_hole(std::move(taken), kHomeBytes);
  const RemoteAddress scratch = home + kPageSize;

  main_->settle(find_syscall(mappings, *memory_), scratch);
  main_->call("mmap", SYS_mmap, home, kHomeBytes, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  memory_->write(home, as_byte_span(kSyscall));
  memory_->write(home + kLoopOffset, CallLoop::instructions());
  main_->call("mprotect", SYS_mprotect, home, kPageSize, PROT_READ | PROT_EXEC);
  main_->settle(home, scratch);
  main_->use({.code = home + kLoopOffset, .list = {home + kListOffset, home + kHomeBytes}});
  return {home, home + kHomeBytes};
}

}  // namespace crs::engine
