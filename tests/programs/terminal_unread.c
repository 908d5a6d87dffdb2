// Pseudo-terminals with both ends here and data that nobody has read: output at masters; at terminals lines that are
// complete, each with what ended it, lines that have been begun, and input that is not in lines.
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include "descriptors.h"

enum { kLong = 1500, kMuch = 9000, kFull = 3900 };

struct pair {
  int master, terminal;
};

static volatile sig_atomic_t signals;
static void on_signal(int signal) {
  (void)signal;
  ++signals;
}

static struct pair make(void) {
  struct pair made;
  SUBJECT_NEED(openpty(&made.master, &made.terminal, NULL, NULL, NULL) == 0);
  return made;
}

static void change(int terminal, tcflag_t input, tcflag_t output, tcflag_t local) {
  struct termios settings;
  SUBJECT_NEED(tcgetattr(terminal, &settings) == 0);
  settings.c_iflag = input, settings.c_oflag = output, settings.c_lflag = local;
  SUBJECT_NEED(tcsetattr(terminal, TCSANOW, &settings) == 0);
}

static void write_bytes(int file, const char* bytes, size_t count) {
  SUBJECT_CHECK(write(file, bytes, count) == (ssize_t)count);
}

// What waits there arrives a moment after it is written.
static void expect_bytes(int file, const char* bytes, size_t count) {
  static char got[16384];
  size_t have = 0;
  while (have < count) {
    struct pollfd entry = {file, POLLIN, 0};
    SUBJECT_CHECK(poll(&entry, 1, 2000) == 1, "%zu of %zu bytes", have, count);
    const ssize_t part = read(file, got + have, count - have);
    SUBJECT_CHECK(part > 0, "%zu of %zu bytes", have, count);
    have += (size_t)part;
  }
  SUBJECT_CHECK(memcmp(got, bytes, count) == 0, "'%.300s' instead of '%.300s'", got, bytes);
}

static void expect_text(int file, const char* text) { expect_bytes(file, text, strlen(text)); }

static void expect_nothing(int file) {
  struct pollfd entry = {file, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 0) == 0, "there is more");
}

// Exactly what the next read gives.
static void expect_line(int terminal, const char* text) {
  struct pollfd entry = {terminal, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 2000) == 1, "'%s' does not come", text);
  expect_read(terminal, text);
}

// The line discipline receives what has been written a moment later.
static void await_unread(int file, int wanted) {
  int bytes = -1;
  for (int i = 0; i < 2000 && ioctl(file, FIONREAD, &bytes) == 0 && bytes != wanted; ++i) subject_sleep_ms(1);
  SUBJECT_CHECK(bytes == wanted, "%d bytes instead of %d", bytes, wanted);
}

static void fill(char* text, size_t count, char first) {
  for (size_t i = 0; i < count; ++i) text[i] = (char)(first + (char)(i % 23));
  text[count] = '\0';
}

// Output; in packet mode; at a terminal that is closed; more than fits into the master's own queue.
static struct pair written, packets, closed, much;
static char much_text[kMuch + 1];

static void prepare_output(void) {
  written = make(), packets = make(), closed = make(), much = make();
  write_text(written.terminal, "one\ntwo\tcolumn");
  int yes = 1;
  SUBJECT_NEED(ioctl(packets.master, TIOCPKT, &yes) == 0);
  write_text(packets.terminal, "packet");
  write_text(closed.terminal, "the last words");
  close(closed.terminal);
  change(much.terminal, 0, 0, 0);
  fill(much_text, kMuch, 'A');
  write_bytes(much.terminal, much_text, kMuch);
}

static void check_output(void) {
  expect_text(written.master, "one\r\ntwo\tcolumn");
  expect_nothing(written.master);
  char packet[64];
  const ssize_t bytes = read(packets.master, packet, sizeof packet);
  SUBJECT_CHECK(bytes == 7 && packet[0] == TIOCPKT_DATA && memcmp(packet + 1, "packet", 6) == 0, "%zd", bytes);
  expect_nothing(packets.master);
  expect_text(closed.master, "the last words");
  expect_error(read(closed.master, packet, sizeof packet), EIO, "reading from a terminal that is closed");
  expect_bytes(much.master, much_text, kMuch);
  expect_nothing(much.master);
  // The column is that of the program that goes on: it is 14, and a tab leads to 16.
  if (atoi(subject_environment("SUBJECT_ROUNDS")) == 0) {
    struct termios settings;
    SUBJECT_CHECK(tcgetattr(written.terminal, &settings) == 0);
    change(written.terminal, settings.c_iflag, settings.c_oflag | XTABS, settings.c_lflag);
    write_text(written.terminal, "\t|");
    expect_text(written.master, "  |");
  }
}

// Complete lines with all that may end one, and one that has been begun, whose last character quotes the next.
static struct pair lines;
static const char kEcho[] =
    "one\r\nt^\b^Cwox;y!li^\b;t^\b^Jpart^\b^D\tend^\b^?^\b"
    "^C\b \b\b \b\b \b\b \b\b \bx\r\n";

static void prepare_lines(void) {
  lines = make();
  struct termios settings;
  SUBJECT_NEED(tcgetattr(lines.terminal, &settings) == 0);
  settings.c_cc[VEOL] = ';', settings.c_cc[VEOL2] = '!';
  SUBJECT_NEED(tcsetattr(lines.terminal, TCSANOW, &settings) == 0);
  write_text(lines.master, "one\rt\026\003wo\004x;y!\004li\026;t\026\n\004part\026\004\tend\026\177\026");
  await_unread(lines.terminal, 4 + 4 + 2 + 2 + 5);
}

static void check_lines(void) {
  write_text(lines.master, "\003");  // quoted
  write_text(lines.master, "\177\177\177x\r");
  expect_line(lines.terminal, "one\n");
  expect_line(lines.terminal, "t\003wo");
  expect_line(lines.terminal, "x;");
  expect_line(lines.terminal, "y!");
  expect_line(lines.terminal, "");
  expect_line(lines.terminal, "li;t\n");
  expect_line(lines.terminal, "part\004\tenx\n");
  expect_nothing(lines.terminal);
  // The echo: ^C behind the quoting character; it, the quoted ^? and the d are taken away again.
  expect_text(lines.master, kEcho);
  expect_nothing(lines.master);
}

// Input that is not in lines, with all special characters, and with characters that count as special by now.
static struct pair raw, late;
static const char kRaw[] = "\021\023\003\004\026\000\377\032\r\n\177end";

static void prepare_characters(void) {
  raw = make(), late = make();
  change(raw.terminal, 0, OPOST, 0);
  write_bytes(raw.master, kRaw, sizeof kRaw);
  change(late.terminal, 0, OPOST, 0);
  write_bytes(late.master, kRaw, sizeof kRaw);
  await_unread(late.terminal, sizeof kRaw);
  change(late.terminal, IXON | ICRNL | ISTRIP | PARMRK | BRKINT, OPOST | ONLCR, ISIG | ECHO | IEXTEN);
}

static void check_characters(void) {
  expect_bytes(raw.terminal, kRaw, sizeof kRaw);
  expect_nothing(raw.terminal);
  expect_nothing(raw.master);
  expect_bytes(late.terminal, kRaw, sizeof kRaw);
  expect_nothing(late.terminal);
  expect_nothing(late.master);
  write_text(late.terminal, "goes on\n");
  expect_text(late.master, "goes on\r\n");
}

// A long line that has been begun, alone and behind a complete one; many complete lines.
static struct pair begun, both, full;
static char begun_text[kFull + 2], both_text[kLong + 2];

static void prepare_long(void) {
  begun = make(), both = make(), full = make();
  fill(begun_text, kFull, 'a');
  fill(both_text, kLong, 'b');
  change(begun.terminal, ICRNL, OPOST | ONLCR, ICANON | ISIG | IEXTEN);
  write_bytes(begun.master, begun_text, kFull);
  write_text(both.master, "first\r");
  write_bytes(both.master, both_text, kLong);
  change(full.terminal, 0, OPOST, ICANON | ISIG | IEXTEN);
  for (int i = 0; i < kFull / 10; ++i) {
    char line[16];
    snprintf(line, sizeof line, "line %04d\n", i);
    write_text(full.master, line);
  }
}

static void check_long(void) {
  expect_nothing(begun.terminal);
  write_text(begun.master, "\177\r");
  begun_text[kFull - 1] = '\n', begun_text[kFull] = '\0';
  expect_line(begun.terminal, begun_text);
  write_text(both.master, "\177\r");
  expect_line(both.terminal, "first\n");
  char echo[kLong + 32];
  snprintf(echo, sizeof echo, "first\r\n%s\b \b\r\n", both_text);
  expect_text(both.master, echo);
  expect_nothing(both.master);
  both_text[kLong - 1] = '\n', both_text[kLong] = '\0';
  expect_line(both.terminal, both_text);
  for (int i = 0; i < kFull / 10; ++i) {
    char line[16];
    snprintf(line, sizeof line, "line %04d\n", i);
    expect_line(full.terminal, line);
  }
  expect_nothing(full.terminal);
}

// A reader waits for the end of a line that has been begun.
static struct pair waited;
static pid_t reader;

static void prepare_reader(void) {
  waited = make();
  write_text(waited.master, "beg");
  reader = fork();
  SUBJECT_NEED(reader >= 0);
  if (reader == 0) {
    char line[64] = "";
    const ssize_t bytes = read(waited.terminal, line, sizeof line);
    _exit(bytes == 6 && strcmp(line, "begun\n") == 0 && signals == 0 ? 0 : 3);
  }
}

static void check_reader(void) {
  write_text(waited.master, "un\r");
  expect_text(waited.master, "begun\r\n");
  int status = -1;
  SUBJECT_CHECK(waitpid(reader, &status, 0) == reader && status == 0, "%#x", (unsigned)status);
}

int main(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  for (int number = 1; number < SIGRTMIN; ++number) {
    if (number != SIGCHLD) sigaction(number, &action, NULL);
  }
  prepare_output();
  prepare_lines();
  prepare_characters();
  prepare_long();
  prepare_reader();
  subject_ready();
  check_output();
  check_lines();
  check_characters();
  check_long();
  check_reader();
  SUBJECT_CHECK(signals == 0, "%d signals", (int)signals);
  subject_ok();
}
