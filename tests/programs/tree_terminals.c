// Two processes that talk through pseudo-terminals all the time and always leave something unread: lines that the
// parent types piece by piece, with quoted characters, and that are echoed to it; and output of the child, in packet
// mode. Every byte comes once and in order, and no change of state is told.
//
// subject: rounds 1 3
//
// SUBJECT_PROGRESS=FILE: as with selfcheck.c; one count for each process.
// subject: lock terminals
#include <pty.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <termios.h>

#include "subject.h"

enum { kLeft = 300, kMost = 1500, kLine = 96 };

// What both see: how many bytes of each stream have been written and read.
typedef struct {
  _Atomic long progress[2];
  _Atomic long typed, heard, said, noted;
  _Atomic int ending;
} Shared;

static Shared* shared;
static int keys[2], words[2];  // master, terminal

// Line `number`, as it is typed, read or echoed.
typedef enum { kTyped, kRead, kEchoed } Form;
static size_t make_line(char* line, long number, Form form) {
  static const char* const kQuoted[] = {"\026\003", "\003", "^\b^C"};
  static const char* const kEnds[] = {"\r", "\n", "\r\n"};
  const int length = (int)(number * 7 % 40);
  return (size_t)snprintf(line, kLine, "%06ld:%.*s%s%.*s%s", number, length,
                          "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqr", number % 3 == 0 ? kQuoted[form] : "",
                          length / 2, "0123456789012345678901234", kEnds[form]);
}

// A stream of lines, taken byte by byte.
typedef struct {
  Form form;
  long number;
  size_t at, length;
  char line[kLine];
} Stream;

static char next_byte(Stream* stream) {
  if (stream->at == stream->length) {
    stream->length = make_line(stream->line, stream->number++, stream->form);
    stream->at = 0;
  }
  return stream->line[stream->at++];
}

// Whoever kills the tree kills one after the other: who is left alone waits for its turn.
static void need_other(int is_there) {
  while (!is_there) pause();
}

static ssize_t read_some(int file, char* to, size_t most) {
  ssize_t count;
  do {
    count = read(file, to, most);
  } while (count < 0 && errno == EINTR);
  need_other(count > 0 || (count < 0 && errno != EIO));
  SUBJECT_CHECK(count > 0, "descriptor %d", file);
  return count;
}

static void write_some(int file, const char* from, size_t count) {
  for (size_t done = 0; done < count;) {
    const ssize_t part = write(file, from + done, count - done);
    if (part < 0 && errno == EINTR) continue;
    need_other(part > 0 || errno != EIO);
    SUBJECT_CHECK(part > 0, "descriptor %d", file);
    done += (size_t)part;
  }
}

static void expect(Stream* stream, const char* bytes, ssize_t count, const char* what) {
  for (ssize_t i = 0; i < count; ++i) {
    const char right = next_byte(stream);
    SUBJECT_CHECK(bytes[i] == right, "%s, line %ld, byte %zu: %#x instead of %#x, '%.*s'", what, stream->number - 1,
                  stream->at - 1, (unsigned)bytes[i], (unsigned)right, (int)count, bytes);
  }
}

// The child: reads lines, each by itself, and speaks.
static void listen_and_speak(void) {
  Stream said = {.form = kRead};
  for (long number = 0;;) {
    char text[kLine], line[kLine];
    while (shared->typed - shared->heard > (shared->ending ? 0 : kLeft)) {
      const ssize_t count = read_some(keys[1], text, sizeof text);
      const size_t typed = make_line(line, number, kTyped);
      const size_t right = make_line(line, number++, kRead);
      SUBJECT_CHECK(count == (ssize_t)right && memcmp(text, line, right) == 0, "'%.*s' instead of '%.*s'", (int)count,
                    text, (int)right, line);
      shared->heard += (long)typed;
    }
    if (shared->ending && shared->typed == shared->heard) break;
    if (shared->said - shared->noted < kMost) {
      const size_t count = 1 + (size_t)number * 31 % 90;
      for (size_t i = 0; i < count; ++i) text[i] = next_byte(&said);
      write_some(words[1], text, count);
      shared->said += (long)count;
    }
    ++shared->progress[1];
    if (number % 16 == 0) subject_sleep_ms(1);  // not all of a processor all the time
  }
  shared->ending = 2;
  _exit(0);
}

static void note(Stream* stream, long count) {
  while (count > 0) {
    char packet[256];
    const ssize_t bytes = read_some(words[0], packet, sizeof packet);
    SUBJECT_CHECK(packet[0] == TIOCPKT_DATA, "a change of state, %#x", (unsigned)packet[0]);
    expect(stream, packet + 1, bytes - 1, "output");
    shared->noted += bytes - 1;
    count -= bytes - 1;
  }
}

// Until what has been typed is echoed but for `left` bytes or so.
static void check_echo(Stream* stream, int left) {
  for (int unread = 0; ioctl(keys[0], FIONREAD, &unread) == 0 && unread > left;) {
    char text[256];
    const ssize_t count =
        read_some(keys[0], text, (size_t)(unread - left) < sizeof text ? (size_t)(unread - left) : sizeof text);
    expect(stream, text, count, "echo");
  }
}

static void tell_progress(void) {
  const char* path = getenv("SUBJECT_PROGRESS");
  if (path == NULL) return;
  FILE* file = fopen(path, "w");
  SUBJECT_NEED(file != NULL && fprintf(file, "%lu 2\n", (unsigned long)shared->progress) > 0 && fclose(file) == 0);
}

int main(void) {
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int yes = 1;
  SUBJECT_NEED(shared != MAP_FAILED && openpty(&keys[0], &keys[1], NULL, NULL, NULL) == 0 &&
               openpty(&words[0], &words[1], NULL, NULL, NULL) == 0 && ioctl(words[0], TIOCPKT, &yes) == 0);
  struct termios settings;
  SUBJECT_NEED(tcgetattr(words[1], &settings) == 0);
  settings.c_oflag &= ~(tcflag_t)OPOST;
  SUBJECT_NEED(tcsetattr(words[1], TCSANOW, &settings) == 0);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    close(keys[0]);
    close(words[0]);
    listen_and_speak();
  }
  close(keys[1]);
  close(words[1]);
  tell_progress();
  subject_announce();

  Stream typed = {.form = kTyped}, echoed = {.form = kEchoed}, noted = {.form = kRead};
  for (long turn = 0; !subject_may_go(); ++turn) {
    if (shared->typed - shared->heard < kMost) {
      char text[64];
      const size_t count = 1 + (size_t)turn * 13 % sizeof text;
      for (size_t i = 0; i < count; ++i) text[i] = next_byte(&typed);
      shared->typed += (long)count;
      write_some(keys[0], text, count);
    }
    check_echo(&echoed, kLeft);
    note(&noted, shared->said - shared->noted - kLeft);
    ++shared->progress[0];
    if (turn % 16 == 0) subject_sleep_ms(1);
  }
  while (typed.at != typed.length) {
    const char byte = next_byte(&typed);
    ++shared->typed;
    write_some(keys[0], &byte, 1);
  }
  shared->ending = 1;
  while (shared->ending == 1) {
    note(&noted, shared->said - shared->noted);
    check_echo(&echoed, 0);
    subject_sleep_ms(1);
  }
  note(&noted, shared->said - shared->noted);
  int status = -1;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0, "%#x", (unsigned)status);
  subject_ok();
}
