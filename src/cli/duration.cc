#include "cli/duration.h"

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace crs::cli {
namespace {

struct Unit {
  std::string_view written;
  const char* shown;
  double seconds;
};

constexpr std::array<Unit, 5> kUnits{
    {{"d", "d", 86400}, {"h", "h", 3600}, {"m", "min", 60}, {"s", "s", 1}, {"ms", "ms", 1e-3}}};
constexpr double kShortest = 1e-3;
constexpr double kLongest = 100 * 366 * 86400.0;

}  // namespace

std::chrono::nanoseconds parse_duration(std::string_view text) {
  double value = 0;
  const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  const std::string_view unit = text.substr(static_cast<std::size_t>(stop - text.data()));
  double factor = unit.empty() ? 1 : 0;
  for (const Unit& known : kUnits) {
    if (unit == known.written) factor = known.seconds;
  }
  const double seconds = value * factor;
  const bool is_possible = std::isfinite(seconds) && seconds >= kShortest && seconds <= kLongest;
  if (problem != std::errc{} || factor == 0 || !is_possible) {
    throw Error(ErrorKind::Usage, fmt::format("'{}' is no length of time", text))
        .advise("Write a number and ms, s, m, h or d, as in 30s or 1.5h");
  }
  return std::chrono::nanoseconds(std::llround(seconds * 1e9));
}

std::string human_duration(std::chrono::nanoseconds duration) {
  const double seconds = static_cast<double>(duration.count()) / 1e9;
  if (seconds < 9.95) return fmt::format("{:.2g} s", seconds);
  auto left = static_cast<std::uint64_t>(std::llround(seconds));
  for (std::size_t i = 0; i + 1 < kUnits.size(); ++i) {
    const auto unit = static_cast<std::uint64_t>(kUnits[i].seconds);
    if (left < unit) continue;
    std::string text = fmt::format("{} {}", left / unit, kUnits[i].shown);
    const auto below = static_cast<std::uint64_t>(kUnits[i + 1].seconds);
    left %= unit;
    if (unit > 1 && left / below > 0) text += fmt::format(" {} {}", left / below, kUnits[i + 1].shown);
    return text;
  }
  return "0 s";
}

}  // namespace crs::cli
