#include "engine/resources/timers/timer_list.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <string>

#include "base/error.h"

namespace crs::engine {
namespace {

// Takes a text apart from its front.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  bool at_end() const { return rest_.empty(); }

  void expect(std::string_view literal) {
    if (!rest_.starts_with(literal)) complain();
    rest_.remove_prefix(literal.size());
  }

  template <typename Integer>
  Integer number(int base = 10) {
    Integer value = 0;
    const auto [stop, problem] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value, base);
    if (problem != std::errc{}) complain();
    rest_.remove_prefix(static_cast<std::size_t>(stop - rest_.data()));
    return value;
  }

  std::string_view word_until(char end) {
    const std::size_t length = rest_.find(end);
    if (length == std::string_view::npos) complain();
    const std::string_view word = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return word;
  }

 private:
  [[noreturn]] void complain() const {
    fail(ErrorKind::Failed, "cannot read the kernel's list of timers at '{}'", rest_.substr(0, rest_.find('\n')));
  }

  std::string_view rest_;
};

int notify_of(std::string_view word) {
  if (word == "signal") return SIGEV_SIGNAL;
  if (word == "none") return SIGEV_NONE;
  if (word == "thread") return SIGEV_THREAD;
  fail(ErrorKind::Failed, "a timer notifies by '{}', which CRS does not know", word);
}

ListedTimer scan_timer(Scanner& scanner) {
  ListedTimer timer;
  scanner.expect("ID: ");
  timer.id = scanner.number<int>();
  scanner.expect("\nsignal: ");
  timer.signal = scanner.number<int>();
  scanner.expect("/");
  timer.value = scanner.number<std::uint64_t>(16);
  scanner.expect("\nnotify: ");
  timer.notify = notify_of(scanner.word_until('/'));
  scanner.expect("/");
  if (scanner.word_until('.') == "tid") timer.notify |= SIGEV_THREAD_ID;
  scanner.expect(".");
  timer.target = scanner.number<pid_t>();
  scanner.expect("\nClockID: ");
  timer.clock = scanner.number<int>();
  scanner.expect("\n");
  return timer;
}

}  // namespace

std::vector<ListedTimer> parse_timer_list(std::string_view text) {
  std::vector<ListedTimer> timers;
  for (Scanner scanner(text); !scanner.at_end();) timers.push_back(scan_timer(scanner));
  std::ranges::sort(timers, {}, &ListedTimer::id);
  return timers;
}

}  // namespace crs::engine
