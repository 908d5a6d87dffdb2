// Ranges of a program's addresses as a person writes and reads them: "7f0000000000-7f0000100000", hexadecimal, the end
// exclusive, as in /proc/PID/maps.
#pragma once

#include <string>

#include "crs/component.hpp"

namespace crs::cli {

// Throws an Error of kind Usage. Both ends may begin with 0x.
MemoryRange parse_memory_range(const std::string& text);
std::string text_of(const MemoryRange& range);

}  // namespace crs::cli
