#include "engine/tracee/gadgets.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

using Code = std::string_view;
constexpr Code kSyscallReturn{"\x0f\x05\xc3", 3};
// C libraries and the Go runtime use the first form; a compiler may choose the second.
constexpr std::array<Code, 2> kSignalReturn{Code{"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", 9},
                                            Code{"\xb8\x0f\x00\x00\x00\x0f\x05", 7}};
constexpr Code kResultStore{"\x48\x89\x03\x5b\xc3", 5};

bool code_at(const RemoteMemory& memory, RemoteAddress address, Code code) {
  std::array<char, 16> bytes{};
  const auto span = std::as_writable_bytes(std::span(bytes).first(code.size()));
  return memory.read_some(address, span) == span.size() && Code(bytes.data(), code.size()) == code;
}

bool returns_from_signal(const RemoteMemory& memory, RemoteAddress address) {
  return std::ranges::any_of(kSignalReturn, [&](Code code) { return code_at(memory, address, code); });
}

// Not by find(), which stops at every occurrence of the first byte, and that is a frequent one in code.
void look_for(RemoteAddress& place, Code code, std::span<const char> text, RemoteAddress start) {
  if (place.value != 0) return;
  const void* const found = ::memmem(text.data(), text.size(), code.data(), code.size());
  if (found != nullptr) place = start + static_cast<std::uint64_t>(static_cast<const char*>(found) - text.data());
}

// In pieces, which stay in the processor's cache and overlap by the length of the longest pattern. What a program can
// do without is looked for in the first of them alone.
void search(const MapsLine& mapping, const RemoteMemory& memory, Gadgets& gadgets) {
  constexpr std::size_t kPiece = std::size_t{128} << 10;
  constexpr std::size_t kOverlap = 16;
  constexpr std::size_t kLookedAt = std::size_t{4} << 20;
  std::vector<char> piece(kPiece);
  const auto is_enough = [&](RemoteAddress start) {
    return gadgets.complete() && (gadgets.result_store.value != 0 || start - mapping.range.start >= kLookedAt);
  };
  for (RemoteAddress start = mapping.range.start; start < mapping.range.end && !is_enough(start);
       start = start + (kPiece - kOverlap)) {
    const std::size_t wanted = std::min<std::uint64_t>(kPiece, mapping.range.end - start);
    const std::size_t got = memory.read_some(start, std::as_writable_bytes(std::span(piece).first(wanted)));
    const std::span<const char> text(piece.data(), got);
    look_for(gadgets.syscall_return, kSyscallReturn, text, start);
    for (const Code code : kSignalReturn) look_for(gadgets.signal_return, code, text, start);
    look_for(gadgets.result_store, kResultStore, text, start);
    if (got < wanted) return;
  }
}

}  // namespace

bool Gadgets::present_in(const RemoteMemory& memory) const {
  return complete() && code_at(memory, syscall_return, kSyscallReturn) && returns_from_signal(memory, signal_return) &&
         (result_store.value == 0 || code_at(memory, result_store, kResultStore));
}

namespace {

// The code around an address, read at once if all of it is there.
class CodeAround {
 public:
  CodeAround(const RemoteMemory& memory, RemoteAddress address) : memory_(memory), address_(address) {
    const auto bytes = std::as_writable_bytes(std::span(bytes_));
    is_read_ = address.value >= kBefore && memory.read_some(address - kBefore, bytes) == bytes.size();
  }

  // Whether `code` begins so many bytes before the address.
  bool has(Code code, std::size_t before = 0) const {
    if (!is_read_) return code_at(memory_, address_ - before, code);
    return Code(bytes_.data(), bytes_.size()).substr(kBefore - before, code.size()) == code;
  }

 private:
  static constexpr std::size_t kBefore = 16;
  const RemoteMemory& memory_;
  RemoteAddress address_;
  std::array<char, 2 * kBefore> bytes_{};
  bool is_read_;
};

}  // namespace

bool is_on_way_back(const user_regs_struct& registers, const RemoteMemory& memory) {
  const CodeAround here(memory, {registers.rip});
  for (const Code code : kSignalReturn) {
    // Inside rt_sigreturn's code, also behind its first instruction.
    if (here.has(code) || here.has(code, code.size() - 2)) return true;
  }
  // Programs contain this code for themselves, but nobody else comes there with such a stack pointer.
  constexpr std::uint64_t kReturned = kResultStoreStack + sizeof(std::uint64_t);
  const bool stores = here.has(kResultStore) || here.has(kResultStore, 3);
  if (stores && registers.rsp == registers.rbx + kReturned) return true;
  const bool calls = here.has(kSyscallReturn) || here.has(kSyscallReturn, 2);
  if (!calls && !here.has(kResultStore, 4)) return false;
  std::uint64_t return_address = 0;
  const auto bytes = std::as_writable_bytes(std::span(&return_address, 1));
  if (memory.read_some({registers.rsp}, bytes) != bytes.size()) return false;
  if (returns_from_signal(memory, {return_address})) return true;
  return calls && registers.rsp == registers.rbx + kResultStoreStack && code_at(memory, {return_address}, kResultStore);
}

namespace {

Gadgets look_for_gadgets(pid_t pid, const RemoteMemory& memory) {
  std::vector<MapsLine> mappings = read_maps(pid);
  std::erase_if(mappings, [](const MapsLine& mapping) {
    return !mapping.permits(PROT_READ | PROT_EXEC) || mapping.name == "[vsyscall]";
  });
  std::ranges::stable_partition(
      mappings, [](const MapsLine& mapping) { return mapping.name.find("/libc") != std::string::npos; });
  Gadgets gadgets;
  for (const MapsLine& mapping : mappings) {
    search(mapping, memory, gadgets);
    if (gadgets.complete()) break;
  }
  return gadgets;
}

// Whether a dynamic linker starts the program: it maps the C library (getauxval(3), AT_BASE). In the middle of
// execve(2) it cannot be told yet.
bool has_dynamic_linker(pid_t pid) {
  const std::string bytes = read_file(fmt::format("/proc/{}/auxv", pid));
  Elf64_auxv_t entry{};
  for (std::size_t at = 0; at + sizeof entry <= bytes.size(); at += sizeof entry) {
    std::memcpy(&entry, bytes.data() + at, sizeof entry);
    if (entry.a_type == AT_BASE) return entry.a_un.a_val != 0;
  }
  return true;
}

}  // namespace

Gadgets find_gadgets(pid_t pid, const RemoteMemory& memory) {
  const Gadgets gadgets = look_for_gadgets(pid, memory);
  if (gadgets.complete()) return gadgets;
  throw Error(
      ErrorKind::Refused,
      fmt::format("process {} has no code that returns from a signal handler (it was built without a C library, "
                  "or has only just begun)",
                  pid))
      .advise("Try again when it has begun; a program without a C library must be linked with one");
}

Gadgets find_gadgets_of_running(pid_t pid, const RemoteMemory& memory) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kPause(1);
  constexpr std::chrono::seconds kLongestStart(5);
  const auto end = Clock::now() + kLongestStart;
  do {
    // Not looked for twice: it may execute another program between.
    const Gadgets gadgets = look_for_gadgets(pid, memory);
    if (gadgets.complete()) return gadgets;
    std::this_thread::sleep_for(kPause);
  } while (has_dynamic_linker(pid) && Clock::now() < end);
  return find_gadgets(pid, memory);
}

}  // namespace crs::engine
