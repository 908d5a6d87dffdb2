// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace crs::cli {

// "312 B", "4.7 KiB", "214 MiB".
std::string human_bytes(std::uint64_t bytes);
// "200MiB/s", "1.5 GB", "4096": bytes a second. Throws an Error of kind Usage for what is none, or is 0.
std::uint64_t parse_rate(std::string_view text);
// "0.11 s", "12 s", "0.004 s".
std::string human_seconds(std::uint64_t nanoseconds);
// Nanoseconds since 1970 as local time, "2026-01-31 23:59:59"; with the offset to UTC in ISO 8601:
// "2026-01-31T23:59:59+0100".
std::string local_time(std::int64_t nanoseconds);
std::string iso_time(std::int64_t nanoseconds);
// A command line with quotes where a shell needs them.
std::string shell_quoted(const std::string& word);

}  // namespace crs::cli
