#include "engine/resources/descriptors/pseudo_terminals/queues.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace crs::engine {
namespace {

// n_tty.c keeps so many bytes of input.
constexpr std::size_t kInputRoom = 4096;
// A pseudo-terminal's buffer is before that (pty.c, tty_buffer.c). It has room (POLLOUT) until it counts so many bytes;
// each that it counts holds two at most.
constexpr std::size_t kBufferRoom = 8192;
// So where there is room, no end can have more to read than this. Just so much fits back in, in pieces that leave no
// gaps.
constexpr std::size_t kMostOutput = 2 * kBufferRoom + kInputRoom;
constexpr std::size_t kPieceWithoutGap = 256;
// With more than this, some of the input may still be in that buffer, not yet interpreted.
constexpr int kMostInput = 4000;
constexpr const char* kTooMuchInput = "there are more than 4000 bytes of input";
constexpr const char* kNoRoomForOutput = "its output is stopped, or there is no room for more";
// Ends what would go on for ever, where somebody else writes all the time.
constexpr std::size_t kMostTaken = std::size_t{64} * kInputRoom;
// A write of so much goes into one buffer, which the line discipline receives without anything in between.
constexpr std::size_t kPiece = 1024;
// What is waited for takes microseconds, unless somebody else stops the terminal meanwhile.
constexpr std::chrono::milliseconds kPatience{5'000};
constexpr std::chrono::milliseconds kPatienceTaking{100};
constexpr std::chrono::milliseconds kPatienceWritingBack{60'000};

termios2 settings_of(int master) {
  termios2 settings{};
  if (::ioctl(master, TCGETS2, &settings) != 0) fail_errno(errno, "cannot read the settings of a pseudo-terminal");
  return settings;
}

void set(int master, const termios2& settings) {
  if (::ioctl(master, TCSETS2, &settings) != 0) fail_errno(errno, "cannot set up a pseudo-terminal");
}

bool is_canonical(const termios2& settings) { return (settings.c_lflag & ICANON) != 0; }

int waiting_bytes(int descriptor) {
  int bytes = 0;
  return ::ioctl(descriptor, FIONREAD, &bytes) == 0 ? bytes : 0;
}

// Where there is nothing to read, it waits until the line discipline has received all that has been written.
short queue_events(int descriptor, short wanted) {
  pollfd entry{descriptor, wanted, 0};
  return ::poll(&entry, 1, 0) == 1 ? entry.revents : short{0};
}

// What the kernel does by itself, on another processor.
template <typename Condition>
void await_kernel(const char* what, Condition condition, std::chrono::milliseconds patience = kPatience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (true) {
    const bool is_late = std::chrono::steady_clock::now() > end;
    if (condition()) return;
    if (is_late) fail(ErrorKind::Failed, "a pseudo-terminal does not {}", what);
    ::sched_yield();
  }
}

bool takes_more(int descriptor) { return (queue_events(descriptor, POLLOUT) & POLLOUT) != 0; }

std::size_t write_some(int descriptor, std::string_view bytes) {
  const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
  if (written < 0 && errno != EAGAIN && errno != EINTR) fail_errno(errno, "cannot write to a pseudo-terminal");
  return static_cast<std::size_t>(std::max(written, ssize_t{0}));
}

// A master cannot be opened a second time, and may be one that waits: but where there is room at all (POLLOUT), there
// is for a whole piece (tty_buffer_alloc() in tty_buffer.c).
void write_to(int descriptor, std::string_view bytes, std::chrono::milliseconds patience = kPatienceWritingBack) {
  while (!bytes.empty()) {
    await_kernel("take what is written to it", [&] { return takes_more(descriptor); }, patience);
    bytes.remove_prefix(write_some(descriptor, bytes.substr(0, kPiece)));
  }
}

// While it lives, a master does not wait: whoever shares the description stands still.
class NonBlocking {
 public:
  explicit NonBlocking(int master) : master_(master), flags_(::fcntl(master, F_GETFL)) {
    if (flags_ < 0 || ::fcntl(master_, F_SETFL, flags_ | O_NONBLOCK) != 0)
      fail_errno(errno, "cannot set the flags of a pseudo-terminal");
  }
  ~NonBlocking() { static_cast<void>(::fcntl(master_, F_SETFL, flags_)); }
  NonBlocking(const NonBlocking&) = delete;
  NonBlocking& operator=(const NonBlocking&) = delete;

 private:
  int master_;
  int flags_;
};

// An end that does not wait takes more than POLLOUT tells: all that there was room for before.
void write_back(int descriptor, std::string_view bytes) {
  if (bytes.empty()) return;
  const auto write_piece = [&] {
    bytes.remove_prefix(write_some(descriptor, bytes.substr(0, kPieceWithoutGap)));
    return bytes.empty();
  };
  await_kernel("take back what has been read from it", write_piece, kPatienceWritingBack);
}

// Echoes that found no room wait, unseen, for the next write to the terminal (n_tty.c), one without bytes, too: it
// brings out as many as there is room for. Otherwise they would come before output that is put back.
void bring_out_echoes(int terminal) {
  constexpr int kMostTimes = 128;  // at least 240 bytes each time, until there is no room
  for (int i = 0; i < kMostTimes && takes_more(terminal); ++i) static_cast<void>(::write(terminal, "", 0));
}

// Settings under which input and output stay as they are. In canonical mode `end` ends a line with no character, and
// `quote` quotes the next; complete lines may end with the program's own VEOL characters, too.
struct Quiet {
  termios2 settings{};
  char end = 0;
  char quote = 0;
};

char special(const termios2& settings, std::size_t which) { return static_cast<char>(settings.c_cc[which]); }

Quiet quiet_settings(const termios2& own) {
  Quiet quiet{.settings = own};
  termios2& settings = quiet.settings;
  settings.c_iflag &= ~static_cast<tcflag_t>(ISTRIP | INLCR | IGNCR | ICRNL | IUCLC | PARMRK | IXANY);
  settings.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ISIG);
  settings.c_lflag |= IEXTEN;
  for (const int which : {VINTR, VQUIT, VERASE, VKILL, VSUSP, VREPRINT, VDISCARD, VWERASE, VSWTC})
    settings.c_cc[which] = 0;  // _POSIX_VDISABLE
  std::string candidates("\x04\x16\x01\x02\x03\x05\x06");
  std::erase_if(candidates, [&](char one) {
    return std::ranges::any_of(std::array{VSTART, VSTOP, VEOL, VEOL2},
                               [&](int which) { return special(own, static_cast<std::size_t>(which)) == one; });
  });
  quiet.end = candidates.at(0);
  quiet.quote = candidates.at(1);
  settings.c_cc[VEOF] = static_cast<cc_t>(quiet.end);
  settings.c_cc[VLNEXT] = static_cast<cc_t>(quiet.quote);
  return quiet;
}

bool contains(const image::TerminalQueues& queues, char byte) {
  const auto has = [&](const std::string& text) { return text.find(byte) != std::string::npos; };
  return has(queues.begun()) || std::ranges::any_of(queues.lines(), has);
}

// The characters that stop and start output count before anything else (n_tty_receive_char_special()), and IXON itself
// must stay: without it, output that is stopped would start. A master in packet mode is told when they change.
void let_through_flow_characters(Quiet& quiet, const image::TerminalQueues& queues) {
  const bool matters =
      contains(queues, special(quiet.settings, VSTART)) || contains(queues, special(quiet.settings, VSTOP));
  if (matters) quiet.settings.c_cc[VSTART] = quiet.settings.c_cc[VSTOP] = 0;
}

bool ends_line(const Quiet& quiet, char byte) {
  return byte == '\n' ||
         (byte != 0 && (byte == special(quiet.settings, VEOL) || byte == special(quiet.settings, VEOL2)));
}

bool is_special(const Quiet& quiet, char byte) {
  return ends_line(quiet, byte) || byte == quiet.end || byte == quiet.quote;
}

std::string quoted(const Quiet& quiet, std::string_view text) {
  std::string result;
  for (const char byte : text) {
    if (is_special(quiet, byte)) result += quiet.quote;
    result += byte;
  }
  return result;
}

// A line as it is written to the master, up to what ends it, and that.
std::pair<std::string, char> split_line(const Quiet& quiet, std::string_view line) {
  const bool has_end = !line.empty() && ends_line(quiet, line.back());
  return {quoted(quiet, has_end ? line.substr(0, line.size() - 1) : line), has_end ? line.back() : quiet.end};
}

ssize_t read_again(int descriptor, std::string& bytes) {
  while (true) {
    const ssize_t got = ::read(descriptor, bytes.data(), bytes.size());
    if (got >= 0 || errno != EINTR) return got;
  }
}

std::string read_queue(int descriptor, std::size_t prefix = 0) {
  std::string bytes(kInputRoom + 1, '\0');
  const ssize_t got = read_again(descriptor, bytes);
  bytes.resize(static_cast<std::size_t>(std::max(got, ssize_t{0})));
  return bytes.substr(std::min(prefix, bytes.size()));
}

bool is_in_packet_mode(int master) {
  int mode = 0;
  return ::ioctl(master, TIOCGPKT, &mode) == 0 && mode != 0;
}

// In packet mode every read begins with a byte that says what follows (ioctl_tty(2)).
std::string take_output(int master) {
  const std::size_t prefix = is_in_packet_mode(master) ? 1 : 0;
  std::string output;
  while (output.size() < kMostTaken && (queue_events(master, POLLIN) & POLLIN) != 0) {
    const std::string bytes = read_queue(master, prefix);
    if (bytes.empty()) break;
    output += bytes;
  }
  return output;
}

// A read gives one line, or nothing for an end of file. One that finds nothing has waited until the line discipline
// had received all that it has room for.
void take_lines(int terminal, image::TerminalQueues& queues) {
  std::string line(kInputRoom + 1, '\0');
  for (std::size_t taken = 0; taken < kMostTaken;) {
    const ssize_t got = read_again(terminal, line);
    if (got < 0) return;
    queues.add_lines(line.data(), static_cast<std::size_t>(got));
    taken += static_cast<std::size_t>(std::max(got, ssize_t{1}));
  }
}

// The line that has been begun is ended, and read. If that does not end it, the character has been quoted.
void take_begun_line(const TerminalEnds& ends, const Quiet& quiet, image::TerminalQueues& queues) {
  write_to(ends.master, std::string_view(&quiet.end, 1), kPatienceTaking);
  if ((queue_events(ends.terminal, POLLIN) & POLLIN) == 0) {
    queues.set_quotes_next(true);
    write_to(ends.master, std::string_view(&quiet.end, 1), kPatienceTaking);
    queue_events(ends.terminal, POLLIN);
  }
  std::string line = read_queue(ends.terminal);
  if (queues.quotes_next() && !line.empty()) line.pop_back();
  queues.set_begun(std::move(line));
}

void take_characters(int terminal, image::TerminalQueues& queues) {
  std::string bytes = read_queue(terminal);
  for (; !bytes.empty() && queues.begun().size() < kMostTaken; bytes = read_queue(terminal))
    queues.mutable_begun()->append(bytes);
}

bool has_own_end(const Quiet& quiet, const std::string& line) { return !line.empty() && ends_line(quiet, line.back()); }

// In the line discipline: an end that is no character takes a place, too.
std::size_t room_for(const Quiet& quiet, const std::string& line) {
  return line.size() + (has_own_end(quiet, line) ? 0 : 1);
}

std::size_t bytes_of_input(const image::TerminalQueues& queues) {
  std::size_t bytes = queues.begun().size();
  for (const std::string& line : queues.lines()) bytes += line.size();
  return bytes;
}

// Whether the line discipline had room for all of it: else the rest waited before it, and was received only when lines
// were taken.
bool has_fitted(const Quiet& quiet, const image::TerminalQueues& queues) {
  std::size_t room = queues.begun().size();
  for (const std::string& line : queues.lines()) room += room_for(quiet, line);
  return room < kInputRoom;
}

// Lines under the program's settings: what is received meanwhile is received as ever. What was not yet is to be
// received again, and is echoed then.
void take_out(const TerminalEnds& ends, const Quiet& quiet, image::TerminalQueues& queues) {
  if (is_canonical(quiet.settings)) {
    queues.set_output(take_output(ends.master));
    take_lines(ends.terminal, queues);
    set(ends.master, quiet.settings);
    take_begun_line(ends, quiet, queues);
    const std::string echo = take_output(ends.master);
    if (has_fitted(quiet, queues)) queues.mutable_output()->append(echo);
  } else {
    take_characters(ends.terminal, queues);
    queues.set_output(take_output(ends.master));
  }
}

// As the program's own settings have it, where they can quote at all.
std::string quoted_for(const termios2& own, std::string_view text) {
  const char quote = (own.c_lflag & IEXTEN) != 0 ? special(own, VLNEXT) : char{0};
  std::string result;
  for (const char byte : text) {
    const bool is_special = byte == '\n' || byte == '\r' ||
                            (byte != 0 && std::ranges::find(own.c_cc, static_cast<cc_t>(byte)) != std::end(own.c_cc));
    if (is_special && quote != 0) result += quote;
    result += byte;
  }
  return result;
}

// What had not been received leaves `queues`, the part that had been and more, and is returned as the program's own
// settings will have it received.
std::string split_off_rest(const termios2& own, const Quiet& quiet, image::TerminalQueues& queues) {
  std::size_t room = 0;
  int kept = 0;
  while (kept < queues.lines_size() && room + room_for(quiet, queues.lines(kept)) <= kMostInput)
    room += room_for(quiet, queues.lines(kept++));
  std::string rest;
  for (int i = kept; i < queues.lines_size(); ++i) {
    const std::string& line = queues.lines(i);
    const bool has_end = has_own_end(quiet, line);
    rest += quoted_for(own, std::string_view(line).substr(0, line.size() - (has_end ? 1 : 0)));
    rest += has_end ? line.back() : special(own, VEOF);
  }
  rest += quoted_for(own, queues.begun());
  if (queues.quotes_next()) rest += special(own, VLNEXT);
  queues.mutable_lines()->DeleteSubrange(kept, queues.lines_size() - kept);
  queues.clear_begun();
  queues.clear_quotes_next();
  return rest;
}

// Nothing else shows that the rest of a long line has been received behind complete lines: it is echoed, and the echo
// taken away. Its column is that of the line's first character, which has been received before.
void put_echoed(const TerminalEnds& ends, const Quiet& quiet, std::string_view text) {
  termios2 settings = quiet.settings;
  settings.c_lflag |= ECHO;
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHOCTL | ECHOPRT);
  set(ends.master, settings);
  write_to(ends.master, quoted(quiet, text));
  std::size_t echoed = 0;
  await_kernel("echo its input", [&] {
    echoed += take_output(ends.master).size();
    return echoed >= text.size();
  });
  set(ends.master, quiet.settings);
}

// The line that has been begun, behind the end of the last complete line: both are received together, which the end
// shows (FIONREAD waits until the line discipline has received all of the piece).
void put_begun_line(const TerminalEnds& ends, const Quiet& quiet, const image::TerminalQueues& queues, std::string end,
                    int expected) {
  const std::string_view begun = queues.begun();
  const bool is_alone = queues.lines().empty();
  const std::size_t at_once =
      is_alone ? begun.size() : std::min(begun.size(), (kPiece - std::min(kPiece, end.size())) / 2);
  const bool is_all = at_once == begun.size();
  end += quoted(quiet, begun.substr(0, at_once));
  if (is_all && queues.quotes_next()) end += quiet.quote;
  write_to(ends.master, end);
  if (is_alone || expected == 0) {
    queue_events(ends.terminal, POLLIN);
    waiting_bytes(ends.terminal);
  }
  await_kernel("take its input", [&] { return waiting_bytes(ends.terminal) == expected; });
  if (is_all) return;
  put_echoed(ends, quiet, begun.substr(at_once));
  if (queues.quotes_next()) write_to(ends.master, std::string_view(&quiet.quote, 1));
}

void put_lines(const TerminalEnds& ends, const Quiet& quiet, const image::TerminalQueues& queues) {
  std::string stream;
  std::size_t end_of_last = 0;  // of the last line that FIONREAD counts
  int counted = 0;
  for (const std::string& line : queues.lines()) {
    const auto [text, end] = split_line(quiet, line);
    stream += text;
    if (!line.empty()) end_of_last = stream.size();
    stream += end;
    counted += static_cast<int>(line.size());
  }
  write_to(ends.master, std::string_view(stream).substr(0, end_of_last));
  put_begun_line(ends, quiet, queues, stream.substr(end_of_last), counted);
}

void put_characters(const TerminalEnds& ends, const std::string& bytes) {
  write_to(ends.master, bytes);
  const std::size_t received = std::min(bytes.size(), kInputRoom - 1);
  await_kernel("take its input", [&] { return waiting_bytes(ends.terminal) == static_cast<int>(received); });
}

bool has_input(const image::TerminalQueues& queues) {
  return !queues.lines().empty() || !queues.begun().empty() || queues.quotes_next();
}

// Input goes first: it may need the output's queue for an echo.
void put_input_back(const TerminalEnds& ends, Quiet quiet, const image::TerminalQueues& queues) {
  let_through_flow_characters(quiet, queues);
  set(ends.master, quiet.settings);
  if (!has_input(queues)) return;
  if (is_canonical(quiet.settings)) {
    put_lines(ends, quiet, queues);
  } else {
    put_characters(ends, queues.begun());
  }
}

void write_back_rest(int master, const std::string& rest) {
  if (rest.empty()) return;
  const NonBlocking unwaiting(master);
  write_back(master, rest);
}

// The change of settings, which the program did not make (TIOCPKT of ioctl_tty(2)).
void forget_changes_of_state(int master) {
  char state = 0;
  if ((queue_events(master, POLLPRI) & POLLPRI) != 0) static_cast<void>(!::read(master, &state, 1));
}

// TIOCSLCKTRMIOS of ioctl_tty(2).
bool has_locked_settings(int terminal) {
  termios locked{};
  if (::ioctl(terminal, TIOCGLCKTRMIOS, &locked) != 0) return true;
  return (locked.c_iflag | locked.c_oflag | locked.c_lflag) != 0 ||
         std::ranges::any_of(locked.c_cc, [](cc_t one) { return one != 0; });
}

}  // namespace

bool may_have_begun_line(int master) {
  const termios2 settings = settings_of(master);
  return is_canonical(settings) && (settings.c_lflag & EXTPROC) == 0;
}

std::string obstacle_to_copying(const TerminalEnds& ends) {
  int discipline = 0;
  if (ends.terminal < 0) return "the terminal cannot be opened";
  if (::ioctl(ends.terminal, TIOCGETD, &discipline) != 0 || discipline != 0)
    return "its line discipline is another one";
  if ((settings_of(ends.master).c_lflag & EXTPROC) != 0) return "its lines are edited elsewhere (EXTPROC)";
  if (has_locked_settings(ends.terminal)) return "its settings are locked";
  if ((queue_events(ends.master, POLLPRI) & POLLPRI) != 0)
    return "there are changes of its state that have not been read (packet mode)";
  if (waiting_bytes(ends.terminal) > kMostInput) return kTooMuchInput;
  if (!takes_more(ends.master)) return "its master takes no input (tcflow(3)), or there is no room for more";
  if (!takes_more(ends.terminal)) return kNoRoomForOutput;
  return {};
}

image::TerminalQueues copy_queues(const TerminalEnds& ends) {
  const termios2 own = settings_of(ends.master);
  const Quiet quiet = quiet_settings(own);
  bring_out_echoes(ends.terminal);
  if (!takes_more(ends.terminal)) fail(ErrorKind::Refused, "{}", kNoRoomForOutput);
  image::TerminalQueues queues;
  std::exception_ptr problem;
  const auto attempt = [&](auto&& action) {
    try {
      action();
    } catch (const std::exception&) {
      if (!problem) problem = std::current_exception();
    }
  };
  attempt([&] { take_out(ends, quiet, queues); });
  const bool is_too_much = bytes_of_input(queues) > kMostInput;
  const bool has_rest = is_canonical(own) && !has_fitted(quiet, queues);
  const std::string rest = has_rest ? split_off_rest(own, quiet, queues) : std::string();
  attempt([&] { put_input_back(ends, quiet, queues); });
  attempt([&] { write_back(ends.terminal, queues.output()); });
  attempt([&] { set(ends.master, own); });
  attempt([&] { write_back_rest(ends.master, rest); });
  forget_changes_of_state(ends.master);
  if (problem) std::rethrow_exception(problem);
  if (is_too_much) fail(ErrorKind::Failed, "{}", kTooMuchInput);
  if (queues.output().size() > kMostOutput) fail(ErrorKind::Failed, "somebody else writes there");
  return queues;
}

void check_queues(const image::TerminalQueues& queues, const std::string& settings) {
  termios2 own{};
  std::memcpy(&own, settings.data(), std::min(sizeof own, settings.size()));
  std::size_t bytes = queues.begun().size();
  for (const std::string& line : queues.lines()) bytes += std::max(line.size(), std::size_t{1});
  const bool is_line_by_line = !queues.lines().empty() || queues.quotes_next();
  const bool possible = bytes <= kInputRoom && queues.output().size() <= kMostOutput &&
                        (!is_line_by_line || is_canonical(own)) && (!has_input(queues) || (own.c_lflag & EXTPROC) == 0);
  if (!possible) fail(ErrorKind::Damaged, "the snapshot has a pseudo-terminal with data that cannot be");
}

void fill_queues(const TerminalEnds& ends, const image::TerminalQueues& queues) {
  const termios2 own = settings_of(ends.master);
  put_input_back(ends, quiet_settings(own), queues);
  write_back(ends.terminal, queues.output());
  set(ends.master, own);
}

}  // namespace crs::engine
