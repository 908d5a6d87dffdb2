#include "engine/resources/credentials/seccomp_answer.h"

#include <linux/audit.h>
#include <sys/syscall.h>

#include <array>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "engine/tracee/ptrace.h"

namespace crs::engine {
namespace {

// The machine that classic BPF programs run on, as far as seccomp(2) allows it (seccomp_check_filter() of the kernel).
class Machine {
 public:
  explicit Machine(const seccomp_data& call) { std::memcpy(data_.data(), &call, sizeof call); }

  std::uint32_t run(std::span<const sock_filter> program) {
    for (std::size_t at = 0; at < program.size(); ++at) {
      const sock_filter& one = program[at];
      switch (BPF_CLASS(one.code)) {
        case BPF_RET:
          return BPF_RVAL(one.code) == BPF_A ? a_ : one.k;
        case BPF_JMP:
          at += BPF_OP(one.code) == BPF_JA ? one.k : is_taken(one) ? one.jt : one.jf;
          break;
        case BPF_ALU:
          if (BPF_OP(one.code) == BPF_DIV && operand(one) == 0) return SECCOMP_RET_KILL_THREAD;
          compute(one);
          break;
        default:
          move(one);
      }
    }
    return SECCOMP_RET_KILL_THREAD;
  }

 private:
  std::uint32_t operand(const sock_filter& one) const { return BPF_SRC(one.code) == BPF_X ? x_ : one.k; }
  std::uint32_t& cell(const sock_filter& one) { return memory_[one.k % memory_.size()]; }

  bool is_taken(const sock_filter& one) const {
    switch (BPF_OP(one.code)) {
      case BPF_JEQ:
        return a_ == operand(one);
      case BPF_JGT:
        return a_ > operand(one);
      case BPF_JGE:
        return a_ >= operand(one);
      default:
        return (a_ & operand(one)) != 0;
    }
  }

  void compute(const sock_filter& one) {
    constexpr std::uint32_t kShiftMask = 31;
    const std::uint32_t by = operand(one);
    switch (BPF_OP(one.code)) {
      case BPF_ADD:
        a_ += by;
        break;
      case BPF_SUB:
        a_ -= by;
        break;
      case BPF_MUL:
        a_ *= by;
        break;
      case BPF_DIV:
        a_ /= by;
        break;
      case BPF_AND:
        a_ &= by;
        break;
      case BPF_OR:
        a_ |= by;
        break;
      case BPF_XOR:
        a_ ^= by;
        break;
      case BPF_LSH:
        a_ <<= by & kShiftMask;
        break;
      case BPF_RSH:
        a_ >>= by & kShiftMask;
        break;
      default:
        a_ = 0 - a_;
    }
  }

  void move(const sock_filter& one) {
    switch (BPF_CLASS(one.code)) {
      case BPF_LD:
        a_ = loaded(one);
        break;
      case BPF_LDX:
        x_ = loaded(one);
        break;
      case BPF_ST:
        cell(one) = a_;
        break;
      case BPF_STX:
        cell(one) = x_;
        break;
      default:
        (BPF_MISCOP(one.code) == BPF_TAX ? x_ : a_) = BPF_MISCOP(one.code) == BPF_TAX ? a_ : x_;
    }
  }

  std::uint32_t loaded(const sock_filter& one) {
    switch (BPF_MODE(one.code)) {
      case BPF_ABS:
        return data_[one.k / sizeof(std::uint32_t) % data_.size()];
      case BPF_LEN:
        return sizeof(seccomp_data);
      case BPF_MEM:
        return cell(one);
      default:
        return one.k;
    }
  }

  std::array<std::uint32_t, sizeof(seccomp_data) / sizeof(std::uint32_t)> data_{};
  std::array<std::uint32_t, BPF_MEMWORDS> memory_{};
  std::uint32_t a_ = 0;
  std::uint32_t x_ = 0;
};

// Nothing: there are no more, or they may not be seen.
std::optional<std::vector<sock_filter>> filter_of(pid_t tid, unsigned long index) {
  try {
    const auto bytes = ptrace::seccomp_filter(tid, index);
    if (!bytes) return std::nullopt;
    std::vector<sock_filter> program(bytes->size() / sizeof(sock_filter));
    std::memcpy(program.data(), bytes->data(), program.size() * sizeof(sock_filter));
    return program;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::ProgramGone) throw;
    return std::nullopt;
  }
}

}  // namespace

std::uint32_t answer_of(std::span<const sock_filter> program, const seccomp_data& call) {
  return Machine(call).run(program);
}

bool may_continue_wait(pid_t tid, const user_regs_struct& registers) {
  const seccomp_data call{
      .nr = SYS_restart_syscall,
      .arch = AUDIT_ARCH_X86_64,
      .instruction_pointer = registers.rip,
      .args = {registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9}};
  for (unsigned long i = 0;; ++i) {
    const auto program = filter_of(tid, i);
    if (!program) return true;
    const std::uint32_t action = answer_of(*program, call) & SECCOMP_RET_ACTION_FULL;
    if (action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_LOG) return false;
  }
}

}  // namespace crs::engine
