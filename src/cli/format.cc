#include "cli/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <string_view>
#include <utility>

#include "base/error.h"

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

std::uint64_t parse_rate(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 9> kUnits{{{"B", 1},
                                                                       {"KB", 1e3},
                                                                       {"MB", 1e6},
                                                                       {"GB", 1e9},
                                                                       {"TB", 1e12},
                                                                       {"KiB", 0x1p10},
                                                                       {"MiB", 0x1p20},
                                                                       {"GiB", 0x1p30},
                                                                       {"TiB", 0x1p40}}};
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  std::string_view unit(stop, static_cast<std::size_t>(end - stop));
  if (unit.ends_with("/s")) unit.remove_suffix(2);
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  const auto* const known =
      std::ranges::find(kUnits, unit, [](const std::pair<std::string_view, double>& entry) { return entry.first; });
  const double rate = known != kUnits.end() ? number * known->second : 0;
  // With less a snapshot takes years: a unit was forgotten.
  constexpr double kLeast = 1000;
  constexpr double kMost = 1e18;
  if (problem == std::errc{} && rate >= kLeast && rate <= kMost) return static_cast<std::uint64_t>(rate);
  throw Error(ErrorKind::Usage, fmt::format("'{}' is no rate", text))
      .advise("Give a number with KB, MB, GB or KiB, MiB, GiB, and no less than 1KB/s: 200MiB/s");
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
