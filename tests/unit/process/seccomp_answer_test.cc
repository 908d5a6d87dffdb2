#include "engine/resources/credentials/seccomp_answer.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <vector>

#include "engine/machine/trial.h"

namespace crs::engine {
namespace {

using Program = std::vector<sock_filter>;

// As BPF_STMT and BPF_JUMP of linux/filter.h, whose results narrow in C++.
sock_filter statement(int code, std::uint32_t k) { return {static_cast<std::uint16_t>(code), 0, 0, k}; }
sock_filter jump(int code, std::uint32_t k, std::uint8_t jt, std::uint8_t jf) {
  return {static_cast<std::uint16_t>(code), jt, jf, k};
}

constexpr std::uint32_t kRefuse = SECCOMP_RET_ERRNO | EXDEV;
constexpr std::uint32_t kArgument = offsetof(seccomp_data, args);

// Its answer if `comparison` of what `computation` leaves in the accumulator holds is kRefuse.
Program refuse_if(const Program& computation, int comparison, std::uint32_t value) {
  Program program = computation;
  program.push_back(jump(BPF_JMP | comparison, value, 0, 1));
  program.push_back(statement(BPF_RET | BPF_K, kRefuse));
  program.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  return program;
}

constexpr std::uint32_t kFirst = 12;
constexpr std::uint32_t kSecond = 5;

std::vector<Program> programs() {
  const sock_filter first = statement(BPF_LD | BPF_W | BPF_ABS, kArgument);
  const sock_filter second = statement(BPF_LD | BPF_W | BPF_ABS, kArgument + 8);
  const sock_filter to_x = statement(BPF_MISC | BPF_TAX, 0);
  std::vector<Program> all{
      {statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)},
      {statement(BPF_LD | BPF_IMM, kRefuse), statement(BPF_RET | BPF_A, 0)},
      {statement(BPF_JMP | BPF_JA, 1), statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
       statement(BPF_RET | BPF_K, kRefuse)},
      refuse_if({statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))}, BPF_JEQ | BPF_K,
                SYS_restart_syscall),
      refuse_if({statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch))}, BPF_JEQ | BPF_K,
                AUDIT_ARCH_X86_64),
      refuse_if({statement(BPF_LD | BPF_W | BPF_LEN, 0)}, BPF_JEQ | BPF_K, sizeof(seccomp_data)),
      refuse_if({first, statement(BPF_ST, 3), second, statement(BPF_LD | BPF_MEM, 3)}, BPF_JEQ | BPF_K, kFirst),
      refuse_if({first, to_x, statement(BPF_STX, 15), second, statement(BPF_LDX | BPF_MEM, 15)}, BPF_JEQ | BPF_X, 0),
      refuse_if({first, to_x, second, statement(BPF_MISC | BPF_TXA, 0)}, BPF_JEQ | BPF_K, kFirst),
      refuse_if({first, statement(BPF_ALU | BPF_NEG, 0)}, BPF_JEQ | BPF_K, 0 - kFirst),
      refuse_if({statement(BPF_LDX | BPF_IMM, 0), first, statement(BPF_ALU | BPF_DIV | BPF_X, 0)}, BPF_JEQ | BPF_K, 0),
  };
  for (const int comparison : {BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET}) {
    for (const std::uint32_t value : {kFirst - 1, kFirst, kFirst + 1, std::uint32_t{3}})
      all.push_back(refuse_if({first}, comparison | BPF_K, value));
    all.push_back(refuse_if({second, to_x, first}, comparison | BPF_X, 0));
  }
  const struct {
    int operation;
    std::uint32_t result;
  } computations[]{{BPF_ADD, kFirst + kSecond}, {BPF_SUB, kFirst - kSecond},  {BPF_MUL, kFirst * kSecond},
                   {BPF_DIV, kFirst / kSecond}, {BPF_AND, kFirst & kSecond},  {BPF_OR, kFirst | kSecond},
                   {BPF_XOR, kFirst ^ kSecond}, {BPF_LSH, kFirst << kSecond}, {BPF_RSH, kFirst >> kSecond}};
  for (const auto& [operation, result] : computations) {
    for (const std::uint32_t value : {result, result + 1}) {
      all.push_back(refuse_if({first, statement(BPF_ALU | operation | BPF_K, kSecond)}, BPF_JEQ | BPF_K, value));
      all.push_back(
          refuse_if({second, to_x, first, statement(BPF_ALU | operation | BPF_X, 0)}, BPF_JEQ | BPF_K, value));
    }
  }
  return all;
}

// What the kernel makes of it: the call's errno in a child under the filter, or 0 if it was killed. The filter may keep
// the child from ending in order, so it tells the errno through memory.
int answer_of_kernel(Program program) {
  void* const page = ::mmap(nullptr, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return EPROTO;
  auto* const answer = static_cast<volatile int*>(page);
  try_in_child([&] {
    const rlimit no_core{};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::signal(SIGILL, SIG_DFL);
    const sock_fprog whole{static_cast<unsigned short>(program.size()), program.data()};
    *answer = EPROTO;
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole) != 0)
      return EPROTO;
    *answer = 0;
    ::syscall(SYS_restart_syscall, kFirst, kSecond);
    *answer = errno;
    __builtin_trap();  // the filter may not even allow _exit(2)
  });
  const int told = *answer;
  ::munmap(page, sizeof(int));
  return told;
}

TEST(SeccompAnswer, IsTheKernels) {
  int refused = 0;
  int allowed = 0;
  int number = 0;
  for (const Program& program : programs()) {
    const seccomp_data call{.nr = SYS_restart_syscall,
                            .arch = AUDIT_ARCH_X86_64,
                            .instruction_pointer = 0,
                            .args = {kFirst, kSecond, 0, 0, 0, 0}};
    const std::uint32_t answer = answer_of(program, call);
    const int kernel = answer_of_kernel(program);
    if (answer == kRefuse) {
      ++refused;
      EXPECT_EQ(kernel, EXDEV) << number;
    } else if (answer == SECCOMP_RET_ALLOW) {
      ++allowed;
      EXPECT_EQ(kernel, EINTR) << number;
    } else {
      EXPECT_EQ(kernel, 0) << number;
    }
    ++number;
  }
  EXPECT_GT(refused, 20);
  EXPECT_GT(allowed, 20);
}

TEST(SeccompAnswer, AProgramWithoutEndKills) {
  const seccomp_data call{};
  EXPECT_EQ(answer_of({}, call), std::uint32_t{SECCOMP_RET_KILL_THREAD});
  const Program far{statement(BPF_JMP | BPF_JA, 0xffffffff)};
  EXPECT_EQ(answer_of(far, call), std::uint32_t{SECCOMP_RET_KILL_THREAD});
  const Program wild{statement(BPF_LD | BPF_W | BPF_ABS, 0xfffffffc), statement(BPF_ST, 0xffffffff)};
  EXPECT_EQ(answer_of(wild, call), std::uint32_t{SECCOMP_RET_KILL_THREAD});
}

}  // namespace
}  // namespace crs::engine
