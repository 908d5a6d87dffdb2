// Lengths of time as people write and read them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace crs::cli {

// "90", "90s", "1.5m", "500ms", "2h", "7d". Throws an Error of kind Usage for anything else, and for less than a
// millisecond or more than a century.
std::chrono::nanoseconds parse_duration(std::string_view text);

// "0.5 s", "30 s", "9 min 48 s", "24 h", "3 d 2 h": in at most two units.
std::string human_duration(std::chrono::nanoseconds duration);

}  // namespace crs::cli
