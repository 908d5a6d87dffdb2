#include "engine/tracee/signal_frame.h"

#include <cpuid.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace crs::engine {
namespace {

constexpr std::uint64_t kFlagFpXstate = 1;         // UC_FP_XSTATE
constexpr std::uint64_t kFlagSigcontextSs = 2;     // UC_SIGCONTEXT_SS
constexpr std::uint64_t kFlagStrictRestoreSs = 4;  // UC_STRICT_RESTORE_SS
constexpr std::uint32_t kMagic1 = 0x46505853;      // FP_XSTATE_MAGIC1
constexpr std::uint32_t kMagic2 = 0x46505845;      // FP_XSTATE_MAGIC2
constexpr std::size_t kSoftwareBytes = 464;        // offset of the software-reserved bytes in the legacy area
constexpr std::size_t kHeader = 512;               // XSTATE_BV stands here
constexpr std::size_t kLegacyAndHeader = 576;
constexpr std::size_t kXsaveAlignment = 64;
constexpr std::uint64_t kTileFeatures = std::uint64_t{3} << 17;  // AMX, which a thread has only if it asked for it

struct SignalContext {
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
  std::uint16_t cs, gs, fs, ss;
  std::uint64_t error, trap_number, old_mask, cr2, extended_state;
  std::uint64_t reserved[8];
};

struct Frame {
  std::uint64_t return_address;
  std::uint64_t flags;
  std::uint64_t link;
  std::uint64_t stack_start;
  std::uint32_t stack_flags;
  std::uint32_t stack_padding;
  std::uint64_t stack_bytes;
  SignalContext context;
  std::uint64_t signal_mask;
  std::byte signal_information[128];
};

// linux/sigcontext.h, struct _fpx_sw_bytes.
struct SoftwareBytes {
  std::uint32_t magic1;
  std::uint32_t extended_bytes;
  std::uint64_t features;
  std::uint32_t state_bytes;
  std::uint32_t padding[7];
};

SignalContext context_of(const user_regs_struct& from) {
  SignalContext to{};
  to.r8 = from.r8, to.r9 = from.r9, to.r10 = from.r10, to.r11 = from.r11;
  to.r12 = from.r12, to.r13 = from.r13, to.r14 = from.r14, to.r15 = from.r15;
  to.rdi = from.rdi, to.rsi = from.rsi, to.rbp = from.rbp, to.rbx = from.rbx;
  to.rdx = from.rdx, to.rax = from.rax, to.rcx = from.rcx, to.rsp = from.rsp;
  to.rip = from.rip, to.eflags = from.eflags;
  to.cs = static_cast<std::uint16_t>(from.cs), to.ss = static_cast<std::uint16_t>(from.ss);
  return to;
}

// Where the last of `features` ends in the standard XSAVE format (Intel SDM volume 1, 13.4; CPUID leaf 0xd).
std::size_t state_bytes_of(std::uint64_t features) {
  std::size_t end = kLegacyAndHeader;
  for (unsigned feature = 2; feature < 63; ++feature) {
    if ((features >> feature & 1) == 0) continue;
    unsigned bytes = 0;
    unsigned offset = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    if (__get_cpuid_count(0xd, feature, &bytes, &offset, &ecx, &edx) != 0)
      end = std::max<std::size_t>(end, offset + bytes);
  }
  return end;
}

std::uint64_t features_of(std::span<const std::byte> state) {
  std::uint64_t enabled = 0;
  std::uint64_t in_use = 0;
  std::memcpy(&enabled, state.data() + kSoftwareBytes, sizeof enabled);
  std::memcpy(&in_use, state.data() + kHeader, sizeof in_use);
  return (enabled & ~kTileFeatures) | (in_use & kTileFeatures);
}

// The XSAVE area as a frame carries it: marked by the software bytes and closed by the second magic number.
std::vector<std::byte> framed_state(std::span<const std::byte> state) {
  const std::uint64_t features = features_of(state);
  const std::size_t bytes = std::min(state_bytes_of(features), state.size());
  std::vector<std::byte> result(std::max(bytes, kLegacyAndHeader));
  std::ranges::copy(state.first(bytes), result.begin());
  const SoftwareBytes software{.magic1 = kMagic1,
                               .extended_bytes = static_cast<std::uint32_t>(bytes + sizeof kMagic2),
                               .features = features,
                               .state_bytes = static_cast<std::uint32_t>(bytes),
                               .padding = {}};
  std::memcpy(result.data() + kSoftwareBytes, &software, sizeof software);
  const auto* const magic = reinterpret_cast<const std::byte*>(&kMagic2);
  result.insert(result.end(), magic, magic + sizeof kMagic2);
  return result;
}

std::size_t aligned(std::size_t bytes) { return (bytes + kXsaveAlignment - 1) / kXsaveAlignment * kXsaveAlignment; }

Frame bare_frame(RemoteAddress signal_return, const user_regs_struct& registers, std::uint64_t signal_mask) {
  constexpr std::uint32_t kInvalidStackFlags = ~std::uint32_t{0};  // makes the kernel leave the alternate stack alone
  Frame frame{};
  frame.return_address = signal_return.value;
  frame.flags = kFlagFpXstate | kFlagSigcontextSs | kFlagStrictRestoreSs;
  frame.stack_flags = kInvalidStackFlags;
  frame.context = context_of(registers);
  frame.signal_mask = signal_mask;
  return frame;
}

// rt_sigreturn(2) does not read the rest.
static_assert(kChainedFrameBytes == offsetof(Frame, signal_information));

}  // namespace

RemoteAddress extended_state_in_signal_frame(RemoteAddress place) { return place + aligned(sizeof(Frame)); }

std::array<std::byte, kChainedFrameBytes> make_chained_frame(RemoteAddress signal_return,
                                                             const user_regs_struct& registers,
                                                             RemoteAddress extended_state, std::uint64_t signal_mask) {
  Frame frame = bare_frame(signal_return, registers, signal_mask);
  frame.context.extended_state = extended_state.value;
  std::array<std::byte, kChainedFrameBytes> bytes{};
  std::memcpy(bytes.data(), &frame, bytes.size());
  return bytes;
}

std::size_t first_argument_in_signal_frame() { return offsetof(Frame, context) + offsetof(SignalContext, rdi); }

bool may_use_ordinary_memory(std::span<const std::byte> state) {
  constexpr unsigned kKeyRights = 9;  // PKRU: Intel's manual, volume 1, 13.5.7
  unsigned bytes = 0;
  unsigned offset = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  std::uint32_t rights = 0;
  if (state.size() < kLegacyAndHeader || (features_of(state) >> kKeyRights & 1) == 0) return true;
  std::uint64_t in_use = 0;
  std::memcpy(&in_use, state.data() + kHeader, sizeof in_use);
  const bool is_initial = (in_use >> kKeyRights & 1) == 0;  // nothing is forbidden
  if (is_initial || __get_cpuid_count(0xd, kKeyRights, &bytes, &offset, &ecx, &edx) == 0 || bytes < sizeof rights ||
      state.size() < offset + sizeof rights)
    return true;
  std::memcpy(&rights, state.data() + offset, sizeof rights);
  return (rights & 3) == 0;
}

std::size_t signal_frame_bytes(std::size_t extended_state_bytes) {
  return aligned(sizeof(Frame)) + aligned(extended_state_bytes + sizeof kMagic2);
}

std::vector<std::byte> make_signal_frame(RemoteAddress place, RemoteAddress signal_return,
                                         const user_regs_struct& registers, std::span<const std::byte> extended_state,
                                         std::uint64_t signal_mask) {
  Frame frame = bare_frame(signal_return, registers, signal_mask);
  std::vector<std::byte> bytes(aligned(sizeof frame));
  if (extended_state.size() >= kLegacyAndHeader) {
    frame.context.extended_state = extended_state_in_signal_frame(place).value;
    const std::vector<std::byte> state = framed_state(extended_state);
    bytes.insert(bytes.end(), state.begin(), state.end());
  }
  std::memcpy(bytes.data(), &frame, sizeof frame);
  return bytes;
}

}  // namespace crs::engine
