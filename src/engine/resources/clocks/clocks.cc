#include "engine/resources/clocks/clocks.h"

#include <ctime>

#include "base/clock_offsets.h"
#include "base/error.h"

namespace crs::engine {
namespace {

// The kernel's own limit is higher (KTIME_SEC_MAX of linux/ktime.h, halved): 146 years.
constexpr std::uint64_t kMost = std::uint64_t{1} << 61;

std::uint64_t in_program(clockid_t clock, std::chrono::nanoseconds ago, std::int64_t offset_of_program,
                         std::int64_t own_offset) {
  return static_cast<std::uint64_t>(nanoseconds_of(clock) - ago.count() - own_offset + offset_of_program);
}

}  // namespace

void check_time_namespace(CaptureContext& context) {
  if (namespace_of(context.pid, "time") == namespace_of(context.pid, "time_for_children")) return;
  context.refusals.add(
      fmt::format("the children of process {} would be in another time namespace than itself", context.own_pid),
      "it cannot be kept: let it execute in that namespace what it made it for (unshare(2)), and try again");
}

void capture_clocks(pid_t pid, std::chrono::nanoseconds ago, image::Clocks& clocks) {
  const ClockOffsets own = own_clock_offsets();
  const ClockOffsets of_program = clock_offsets_of(pid);
  clocks.set_monotonic(in_program(CLOCK_MONOTONIC, ago, of_program.monotonic, own.monotonic));
  clocks.set_boottime(in_program(CLOCK_BOOTTIME, ago, of_program.boottime, own.boottime));
  clocks.set_monotonic_offset(of_program.monotonic);
}

void capture_own_clocks(const CaptureContext& context, pid_t parent, image::Process& process) {
  if (namespace_of(context.pid, "time") != namespace_of(parent, "time"))
    capture_clocks(context.pid, context.since_clocks_read(), *process.mutable_clocks());
}

void check_clocks(const image::Clocks& clocks) {
  if (clocks.monotonic() > kMost || clocks.boottime() > kMost)
    fail(ErrorKind::Damaged, "the snapshot has a clock that cannot have come so far");
}

ClockStart clock_start_of(const image::Clocks& clocks) {
  return {.monotonic = static_cast<std::int64_t>(clocks.monotonic()),
          .boottime = static_cast<std::int64_t>(clocks.boottime())};
}

bool had_another_clock(const image::Clocks& clocks) {
  return clocks.monotonic_offset() != own_clock_offsets().monotonic;
}

void enter_clocks_inside(NewbornContext& context, const image::Clocks& clocks) {
  try {
    ClocksOfChildren made(clock_start_of(clocks));
    made.enter();
  } catch (const Error& error) {
    context.notes.push_back(
        fmt::format("{}: process {} sees CLOCK_MONOTONIC jump", error.what(), context.process_ids[context.process]));
  }
}

}  // namespace crs::engine
