#include "engine/machine/machine.h"

#include <cpuid.h>
#include <sys/utsname.h>

#include <iterator>

#include "base/error.h"

namespace crs::engine {
namespace {

void append(std::vector<MachineFact>& facts, std::vector<MachineFact> more) {
  facts.insert(facts.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

// CPUID leaf 1, ECX bit 27: the system has enabled XSAVE (Intel SDM volume 1, chapter 13).
bool has_xsave() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1U << 27)) != 0;
}

}  // namespace

std::vector<MachineFact> examine_kernel() {
  utsname system{};
  if (::uname(&system) != 0) fail_errno(errno, "uname");
  const std::string machine = system.machine;
  return {{.name = "kernel",
           .available = machine == "x86_64",
           .essential = true,
           .detail = fmt::format("{} {} on {}", system.sysname, system.release, machine),
           .consequence = "programs can be checkpointed on x86-64 only"},
          {.name = "xsave",
           .available = has_xsave(),
           .essential = true,
           .detail = "extended processor state",
           .consequence = "the vector registers of a program cannot be kept"}};
}

std::vector<MachineFact> examine_machine() {
  std::vector<MachineFact> facts = examine_kernel();
  append(facts, examine_tracing());
  append(facts, examine_memory_interfaces());
  append(facts, examine_identity_interfaces());
  return facts;
}

}  // namespace crs::engine
