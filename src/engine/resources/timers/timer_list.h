// The text of /proc/PID/timers (proc_pid_timers(5)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

namespace crs::engine {

struct ListedTimer {
  int id = 0;
  int signal = 0;
  std::uint64_t value = 0;  // sigev_value
  int notify = 0;           // sigev_notify
  pid_t target = 0;         // as the reader of the file sees it; 0: has ended
  int clock = 0;
};

// By increasing id. Throws an Error of kind Failed for text of any other form.
std::vector<ListedTimer> parse_timer_list(std::string_view text);

}  // namespace crs::engine
