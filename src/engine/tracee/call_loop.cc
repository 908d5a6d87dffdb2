#include "engine/tracee/call_loop.h"

#include <sys/ptrace.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "base/error.h"
#include "base/io.h"
#include "engine/tracee/remote_memory.h"

namespace crs::engine {
namespace {

struct Entry {
  std::uint64_t number;
  std::array<std::uint64_t, 6> arguments;
  std::int64_t result;
};

// The list's next entry is in rbx, how many there still are in rbp: the kernel leaves both alone, as all but rax, rcx
// and r11 (syscall(2)).
constexpr std::array<unsigned char, 74> kInstructions = {
    0x48, 0x8b, 0x03,              // mov (%rbx), %rax
    0x48, 0x8b, 0x7b, 0x08,        // mov 8(%rbx), %rdi
    0x48, 0x8b, 0x73, 0x10,        // mov 16(%rbx), %rsi
    0x48, 0x8b, 0x53, 0x18,        // mov 24(%rbx), %rdx
    0x4c, 0x8b, 0x53, 0x20,        // mov 32(%rbx), %r10
    0x4c, 0x8b, 0x43, 0x28,        // mov 40(%rbx), %r8
    0x4c, 0x8b, 0x4b, 0x30,        // mov 48(%rbx), %r9
    0x0f, 0x05,                    // syscall
    0x48, 0x89, 0x43, 0x38,        // mov %rax, 56(%rbx)
    0x48, 0x83, 0xc3, 0x40,        // add $64, %rbx
    0x48, 0xff, 0xcd,              // dec %rbp
    0x75, 0xd6,                    // jnz to the first
    0xb8, 0x27, 0x00, 0x00, 0x00,  // mov $getpid, %eax
    0x0f, 0x05,                    // syscall
    0x89, 0xc7,                    // mov %eax, %edi
    0xb8, 0xba, 0x00, 0x00, 0x00,  // mov $gettid, %eax
    0x0f, 0x05,                    // syscall
    0x89, 0xc6,                    // mov %eax, %esi
    0xba, 0x13, 0x00, 0x00, 0x00,  // mov $SIGSTOP, %edx
    0xb8, 0xea, 0x00, 0x00, 0x00,  // mov $tgkill, %eax
    0x0f, 0x05,                    // syscall
    0xeb, 0xf7,                    // jmp to the last mov: a SIGCONT may have taken the signal away (signal(7))
};
constexpr std::size_t kEnd = kInstructions.size() - 2;  // behind the last system call
static_assert(sizeof(Entry) == 64);

// A SIGSTOP of somebody else's may come before the loop's own: until it has come to the end, the thread goes on.
void run_to_end(pid_t tid, RemoteAddress end) {
  int signal = 0;
  while (true) {
    ptrace::resume(PTRACE_CONT, tid, signal);
    const WaitStatus status = ptrace::wait_for_stop(tid);
    signal = status.signal_delivery_stop() ? status.signal() : 0;
    if (signal == SIGSTOP && ptrace::registers(tid).rip == end.value) return;
    if (signal != 0 && signal != SIGSTOP)
      fail(ErrorKind::Failed, "remote calls in thread {} ended in signal {}", tid, signal);
  }
}

}  // namespace

std::span<const std::byte> CallLoop::instructions() { return std::as_bytes(std::span(kInstructions)); }

std::size_t CallLoop::most_calls() const { return list.size() / sizeof(Entry); }

std::vector<std::int64_t> run_loop(const CallLoop& loop, pid_t tid, const RemoteMemory& memory,
                                   const user_regs_struct& at, std::span<const RemoteCaller::StoringCall> calls) {
  std::vector<std::int64_t> results;
  if (calls.empty()) return results;
  std::vector<Entry> entries;
  for (const RemoteCaller::StoringCall& call : calls)
    entries.push_back({static_cast<std::uint64_t>(call.number), call.arguments, 0});
  memory.write(loop.list.start, std::as_bytes(std::span(entries)));
  user_regs_struct registers = at;
  registers.rip = loop.code.value;
  registers.rbx = loop.list.start.value;
  registers.rbp = entries.size();
  registers.orig_rax = ~std::uint64_t{0};  // it is not inside a call that would have to be restarted
  ptrace::set_registers(tid, registers);
  run_to_end(tid, loop.code + kEnd);
  memory.read(loop.list.start, std::as_writable_bytes(std::span(entries)));
  std::ranges::transform(entries, std::back_inserter(results), &Entry::result);
  return results;
}

}  // namespace crs::engine
