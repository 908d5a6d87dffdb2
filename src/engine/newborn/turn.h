// Whose turn it is among newborns that have one memory (CLONE_VM of clone(2)) and run ordinary code in it: they have
// the C library's state in common, down to errno, as threads would that it does not know of. So one of them runs at a
// time, and gives its turn away only to wait, by system calls that leave nothing behind in memory.
#pragma once

#include <sys/syscall.h>

#include <cstdint>

namespace crs::engine {

// The kernel's answer, a negated errno if it is an error; errno stays as it is (syscall(2)).
inline long system_call_alone(long number, std::uint64_t first = 0, std::uint64_t second = 0, std::uint64_t third = 0,
                              std::uint64_t fourth = 0) noexcept {
  // NOLINTBEGIN(misc-const-correctness): a constant need not be in its register
  long result = number;
  register std::uint64_t fourth_register __asm__("r10") = fourth;
  register std::uint64_t none __asm__("r8") = 0;
  register std::uint64_t none_either __asm__("r9") = 0;
  // NOLINTEND(misc-const-correctness)
  __asm__ volatile("syscall"
                   : "+a"(result)
                   : "D"(first), "S"(second), "d"(third), "r"(fourth_register), "r"(none), "r"(none_either)
                   : "rcx", "r11", "memory");
  return result;
}

template <typename Object>
std::uint64_t address_of(Object* object) noexcept {
  return reinterpret_cast<std::uint64_t>(object);
}

// A process that fork(2) makes has a copy, in which it is its own turn if it was its maker's.
class Turn {
 public:
  // Waits until nobody else has it.
  void take() noexcept;
  void give() noexcept;

  // `waiting` makes no call but system_call_alone(), and touches nothing but its own variables. Returns what it does.
  template <typename Waiting>
  auto give_while(Waiting&& waiting) noexcept {
    give();
    const auto result = waiting();
    take();
    return result;
  }

 private:
  std::uint32_t state_ = 0;  // 0: free; 1: taken; 2: taken, and others may wait (futex(2))
};

}  // namespace crs::engine
