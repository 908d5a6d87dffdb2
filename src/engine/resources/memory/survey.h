// What is known of the areas of a process before it is stopped, and whether that was right.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <vector>

#include "engine/resources/memory/smaps.h"

namespace crs::engine {

// What is slow to find out (/proc/PID/smaps), before the program is stopped.
struct MemorySurvey {
  std::vector<MappedArea> areas;
  // When they were read, and how long that took.
  std::chrono::steady_clock::time_point since;
  std::chrono::steady_clock::duration took{};
  // Since then this checkpoint tracks what is written into areas (WriteTracker), which smaps shows as it would show a
  // userfaultfd of the program's.
  bool writes_tracked = false;
  // Not to be relied upon by capture_memory().
  bool ask_stopped = false;
  // By capture_memory(): whether it has been.
  bool relied_upon = false;
};

// Throws if the process cannot be looked at.
MemorySurvey look_at_memory(pid_t pid);

// Whether the areas of process `pid` are where they were, or have only grown or shrunk.
bool has_same_areas(pid_t pid, const MemorySurvey& survey);

// Reads everything again.
void look_again(pid_t pid, MemorySurvey& survey);

// The program runs again: whether the areas that are still there, in whole or in part, have the settings that
// capture_memory() relied upon (madvise(2) and mlock(2) on a whole area change nothing in /proc/PID/maps). A setting
// that was changed and changed back between look_again() and now, or whose area is gone, is taken for one that was not
// changed.
bool has_same_settings(pid_t pid, const MemorySurvey& survey);

// The program is frozen: its areas as they are now, by the survey where that can tell, which it is then relied upon
// for.
std::vector<MappedArea> current_areas(pid_t pid, MemorySurvey& survey);

}  // namespace crs::engine
