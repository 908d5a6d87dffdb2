// By how much the clocks that count from the boot differ in a process's time namespace: time_namespaces(7).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>

namespace crs {

// In nanoseconds, against those of the initial time namespace.
struct ClockOffsets {
  std::int64_t monotonic = 0;
  std::int64_t boottime = 0;
};

// Of the children that process `pid` makes: /proc/PID/timens_offsets. None where the kernel has no time namespaces.
ClockOffsets clock_offsets_of(pid_t pid);
// Of this process itself, whatever its children get.
ClockOffsets own_clock_offsets();

// What this process reads, in nanoseconds.
std::int64_t nanoseconds_of(clockid_t clock);

// A start time as this process finds it in /proc/PID/stat (proc_pid_stat(5), field 22), as processes of other time
// namespaces would have to find it: in the initial one.
std::uint64_t start_time_for_all(std::uint64_t start_time);

}  // namespace crs
