#include "engine/resources/credentials/landlock.h"

#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

constexpr long kCreateRuleset = 444;  // landlock_create_ruleset(2), 5.13
constexpr unsigned kVersion = 1;      // LANDLOCK_CREATE_RULESET_VERSION

bool kernel_has_landlock() {
  static const bool has = ::syscall(kCreateRuleset, nullptr, 0, kVersion) > 0;  // of the kernel: it stays as it is
  return has;
}

// To enter a sandbox takes one of these (landlock_restrict_self(2)); the second may have been given up since.
bool may_have_entered_one(const ProcessStatus& status) {
  return status.field("NoNewPrivs").value_or("0") != "0" ||
         (status.hexadecimal("CapPrm") >> unsigned{CAP_SYS_ADMIN} & 1) != 0;
}

bool are_all(const ProcessStatus& status, std::string_view field, std::uint64_t id) {
  const std::vector<std::uint64_t> ids = status.numbers(field);
  return std::ranges::all_of(ids, [id](std::uint64_t one) { return one == id; });
}

std::string label_of(pid_t pid) {
  try {
    return read_task_file(pid, "attr/current");
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::ProgramGone) throw;
    return {};
  }
}

// Whether nothing but a sandbox forbids the process to look at this one (ptrace(2), "Ptrace access mode checking").
bool may_otherwise_look_here(pid_t pid, const ProcessStatus& status) {
  const ProcessStatus own = ProcessStatus::of(::getpid());
  for (const std::string_view field : {std::string_view("Uid"), std::string_view("Gid")}) {
    const std::uint64_t id = own.number(field);
    if (!are_all(own, field, id) || !are_all(status, field, id)) return false;
  }
  if ((own.hexadecimal("CapPrm") & ~status.hexadecimal("CapPrm")) != 0) return false;
  if (::prctl(PR_GET_DUMPABLE) != 1 || label_of(pid) != label_of(::getpid())) return false;
  return std::ranges::all_of(std::to_array<std::string_view>({"user", "pid"}), [&](std::string_view name) {
    return read_link(fmt::format("/proc/{}/ns/{}", pid, name)) == read_link(fmt::format("/proc/self/ns/{}", name));
  });
}

}  // namespace

void refuse_landlock(CaptureContext& context, const ProcessStatus& status) {
  if (!kernel_has_landlock() || !may_have_entered_one(status)) return;
  // From inside a sandbox the processes outside may not be looked at: kcmp(2) asks for that and does nothing more.
  const auto self = static_cast<std::uint64_t>(::getpid());
  if (::syscall(SYS_kcmp, self, self, KCMP_VM, 0, 0) != 0) return;  // a container's filter may forbid it altogether
  if (context.remote.raw_call(SYS_kcmp, {self, self, KCMP_VM, 0, 0, 0}) != -EPERM) return;
  // Hardly any gets here: the program waits.
  if (!may_otherwise_look_here(context.pid, status)) return;
  context.refusals.add(
      fmt::format("process {} is in a sandbox (Landlock), which the kernel does not show", context.own_pid),
      "start it without that, or both it and crs inside the sandbox");
}

}  // namespace crs::engine
