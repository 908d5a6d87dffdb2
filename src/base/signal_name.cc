#include "base/signal_name.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <csignal>
#include <cstring>

#include "base/error.h"

namespace crs {

int parse_signal(const std::string& text) {
  int number = 0;
  const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_number = problem == std::errc{} && stop == text.data() + text.size();
  std::string name = text;
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (int signal = 1; signal < SIGRTMIN; ++signal) {
    const char* const known = ::sigabbrev_np(signal);
    if (known == nullptr || (is_number ? number != signal : name != known)) continue;
    if (signal == SIGKILL || signal == SIGSTOP || signal == SIGCHLD)
      fail(ErrorKind::Usage, "SIG{} cannot be waited for", known);
    return signal;
  }
  throw Error(ErrorKind::Usage, fmt::format("'{}' is no signal", text)).advise("'kill -l' lists them");
}

std::string name_of_signal(int signal) {
  const char* const known = ::sigabbrev_np(signal);
  return known == nullptr ? fmt::format("signal {}", signal) : fmt::format("SIG{}", known);
}

}  // namespace crs
