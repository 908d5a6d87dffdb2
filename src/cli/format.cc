#include "cli/format.h"

#include <fmt/format.h>

#include <array>
#include <ctime>
#include <string_view>

namespace crs::cli {
namespace {

std::string formatted_time(std::int64_t nanoseconds, const char* format) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::time_t seconds = nanoseconds / kSecond;
  std::tm parts{};
  if (::localtime_r(&seconds, &parts) == nullptr) return "?";
  std::array<char, 64> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), format, &parts);
  return {text.data(), length};
}

}  // namespace

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format(fmt::runtime(value < 9.95 ? "{:.1f} {}" : "{:.0f} {}"), value, kUnits.at(unit));
}

std::string human_seconds(std::uint64_t nanoseconds) {
  const double seconds = static_cast<double>(nanoseconds) / 1e9;
  if (seconds < 0.00995) return fmt::format("{:.4f} s", seconds);
  return fmt::format(fmt::runtime(seconds < 9.995 ? "{:.2f} s" : "{:.0f} s"), seconds);
}

std::string local_time(std::int64_t nanoseconds) { return formatted_time(nanoseconds, "%Y-%m-%d %H:%M:%S"); }
std::string iso_time(std::int64_t nanoseconds) { return formatted_time(nanoseconds, "%Y-%m-%dT%H:%M:%S%z"); }

std::string shell_quoted(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_^";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

}  // namespace crs::cli
