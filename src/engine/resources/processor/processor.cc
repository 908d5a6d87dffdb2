#include "engine/resources/processor/processor.h"

#include <cpuid.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <iterator>
#include <optional>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/text.h"

namespace crs::engine {
namespace {

// Flags of /proc/cpuinfo that stand for instructions (or for registers) which code in user space can execute. Left out
// are those that only the kernel uses, those that describe performance (erms, fsrm, rep_good) and those every x86-64
// processor has (sse2 and older).
constexpr auto kInstructionFlags = std::to_array<std::string_view>({
    // Vector and scalar arithmetic.
    "pni",
    "ssse3",
    "sse4_1",
    "sse4_2",
    "sse4a",
    "misalignsse",
    "avx",
    "avx2",
    "fma",
    "fma4",
    "xop",
    "f16c",
    "avx_vnni",
    "avx_ifma",
    "avx_ne_convert",
    "avx_vnni_int8",
    "avx_vnni_int16",
    "avx10",
    "avx512f",
    "avx512dq",
    "avx512cd",
    "avx512bw",
    "avx512vl",
    "avx512er",
    "avx512pf",
    "avx512ifma",
    "avx512vbmi",
    "avx512_vbmi2",
    "avx512_vnni",
    "avx512_bitalg",
    "avx512_vpopcntdq",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_4vnniw",
    "avx512_4fmaps",
    "avx512_vp2intersect",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
    "amx_complex",
    // Integers, bits, strings.
    "cx16",
    "lahf_lm",
    "popcnt",
    "abm",
    "bmi1",
    "bmi2",
    "tbm",
    "adx",
    "movbe",
    "movdiri",
    "movdir64b",
    "enqcmd",
    "cmpccxadd",
    "raoint",
    "3dnow",
    "3dnowext",
    // Cryptography and random numbers.
    "aes",
    "pclmulqdq",
    "vaes",
    "vpclmulqdq",
    "gfni",
    "sha_ni",
    "sha512",
    "sm3",
    "sm4",
    "rdrand",
    "rdseed",
    // Transactions, caches, waiting, segment bases, time stamps, protection keys, state saving.
    "rtm",
    "hle",
    "clflushopt",
    "clwb",
    "cldemote",
    "clzero",
    "waitpkg",
    "monitorx",
    "fsgsbase",
    "rdtscp",
    "rdpid",
    "rdpru",
    "ospke",
    "serialize",
    "tsxldtrk",
    "uintr",
    "ptwrite",
    "lwp",
    "fxsr",
    "xsave",
    "xsaveopt",
    "xsavec",
    "xgetbv1",
    "user_shstk",
    "prefetchwt1",
});

// The extended state (vector registers and so on) that the kernel lets programs use, one entry for each component
// beyond x87 and SSE, with its place in XSAVE's standard form: CPUID leaf 13, subleaf N. Registers in a snapshot have
// that form, and makers of processors differ in it.
std::vector<std::string> state_components_here() {
  constexpr unsigned kFirstExtended = 2;
  constexpr unsigned kLast = 62;
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_OSXSAVE) == 0) return {};
  // NOLINTBEGIN(misc-const-correctness): the instruction writes both
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  // NOLINTEND(misc-const-correctness)
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  const std::uint64_t enabled = (std::uint64_t{high} << 32U) | low;
  std::vector<std::string> components;
  for (unsigned component = kFirstExtended; component <= kLast; ++component) {
    if ((enabled >> component & 1) == 0 || __get_cpuid_count(13, component, &eax, &ebx, &ecx, &edx) == 0) continue;
    components.push_back(fmt::format("xstate{}@{}+{}", component, ebx, eax));
  }
  return components;
}

std::string_view flags_in(std::string_view cpuinfo) {
  std::optional<std::string_view> flags;
  for_each_line(cpuinfo, [&](std::string_view line) {
    if (!flags && line.starts_with("flags") && line.find(':') != std::string_view::npos)
      flags = line.substr(line.find(':') + 1);
  });
  return flags.value_or("");
}

// 32-bit programs run in segment 0x23, 64-bit ones in 0x33 (arch/x86/include/asm/segment.h).
constexpr std::uint64_t kCodeSegment = 0x33;

bool runs_64_bit_code(pid_t tid) {
  user_regs_struct registers{};
  if (::ptrace(PTRACE_GETREGS, tid, nullptr, &registers) != 0)
    fail_errno(errno, "cannot read the registers of thread {}", tid);
  return registers.cs == kCodeSegment;
}

}  // namespace

std::vector<std::string> features_in(std::string_view cpuinfo) {
  std::vector<std::string> features;
  for (const std::string_view flag : words_of(flags_in(cpuinfo))) {
    if (std::ranges::find(kInstructionFlags, flag) != kInstructionFlags.end()) features.emplace_back(flag);
  }
  std::ranges::sort(features);
  return features;
}

std::vector<std::string> processor_features() {
  std::vector<std::string> features = features_in(read_file("/proc/cpuinfo"));
  std::ranges::move(state_components_here(), std::back_inserter(features));
  return features;
}

void check_processor(const std::vector<std::string>& required, const std::vector<std::string>& present) {
  std::string missing;
  for (const std::string& feature : required) {
    if (std::ranges::find(present, feature) == present.end())
      missing += fmt::format("{}{}", missing.empty() ? "" : ", ", feature);
  }
  if (missing.empty()) return;
  Error error(
      ErrorKind::Refused,
      fmt::format("this processor lacks {}, which the program may be using (its libraries chose their code for the "
                  "processor that it was started on)",
                  missing));
  throw error.advise("Restart it on a machine with that processor, or a newer one of the same family");
}

void check_processor(const std::vector<std::string>& required) { check_processor(required, processor_features()); }

void refuse_foreign_code(CaptureContext& context) {
  if (std::ranges::all_of(context.threads, runs_64_bit_code)) return;
  context.refusals.add(fmt::format("process {} runs 32-bit code", context.own_pid),
                       "CRS keeps 64-bit x86 programs only");
}

}  // namespace crs::engine
