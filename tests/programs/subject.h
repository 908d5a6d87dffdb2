// What every subject program uses: a subject sets something up, says that it is ready, is checkpointed, killed and
// restarted any number of times, and after the go-signal checks everything itself and reports.
//
//   int main(void) {
//     int pipe_ends[2];
//     SUBJECT_NEED(pipe(pipe_ends) == 0);                  // set-up
//     write(pipe_ends[1], "hello", 5);
//     subject_ready();                                     // returns after all checkpoints and restarts
//     char text[8];
//     SUBJECT_CHECK(read(pipe_ends[0], text, 8) == 5, "the pipe lost its data");
//     subject_ok();
//   }
//
// Reports go to the file named by SUBJECT_STATUS (opened, appended to and closed at each report, so no descriptor stays
// open), the go-signal is the appearance of the file named by SUBJECT_GO: both survive a restart. Plain C, also usable
// from C++. A subject must not depend on its standard streams (they are files) or on its parent, and must not take
// longer than a second or two from the go-signal to its end. Thread-safe.
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline const char* subject_environment(const char* name) {
  const char* value = getenv(name);
  if (value == NULL) {
    fprintf(stderr, "%s is not set: start this program with tests/system/run_subject.py\n", name);
    _exit(2);
  }
  return value;
}

static inline void subject_say(const char* line) {
  const int file = open(subject_environment("SUBJECT_STATUS"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0 || write(file, line, strlen(line)) != (ssize_t)strlen(line)) _exit(3);
  close(file);
}

__attribute__((noreturn)) static inline void subject_ok(void) {
  subject_say("ok\n");
  exit(0);
}

__attribute__((noreturn, format(printf, 1, 2))) static inline void subject_fail(const char* format, ...) {
  char text[2048] = "failed: ";
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text + strlen(text), sizeof text - strlen(text) - 2, format, arguments);
  va_end(arguments);
  strcat(text, "\n");
  subject_say(text);
  _exit(1);
}

// This machine or user cannot do what the subject is about.
__attribute__((noreturn)) static inline void subject_skip(const char* why) {
  subject_say("skipped: ");
  subject_say(why);
  subject_say("\n");
  _exit(77);
}

// SUBJECT_CHECK(condition, "what went wrong: %d", value); the text may be left out. errno is shown as it was.
#define SUBJECT_CHECK(condition, ...)                                                                       \
  do {                                                                                                      \
    if (!(condition)) {                                                                                     \
      const int subject_errno = errno;                                                                      \
      char subject_text[1024];                                                                              \
      snprintf(subject_text, sizeof subject_text, " " __VA_ARGS__);                                         \
      subject_fail("%s:%d: %s:%s (errno %d)", __FILE__, __LINE__, #condition, subject_text, subject_errno); \
    }                                                                                                       \
  } while (0)
// The same for set-up, where a failure is the machine's, not CRS's.
#define SUBJECT_NEED(...) SUBJECT_CHECK(__VA_ARGS__)

static inline void subject_sleep_ms(long milliseconds) {
  struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  while (nanosleep(&time, &time) != 0 && errno == EINTR) {
  }
}

// A System V object ('m', 's' or 'q', as ipcrm(1) takes it) that outlives its processes: removed at the end of the test
// if it is still there.
static inline void subject_leaves(char kind, int id) {
  const int file = open(subject_environment("SUBJECT_OBJECTS"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0 || dprintf(file, "%c %d\n", kind, id) < 0) _exit(3);
  close(file);
}

// Says "ready" and returns at once: for subjects that go on working or block in the call under test.
static inline void subject_announce(void) { subject_say("ready\n"); }

static inline int subject_may_go(void) { return access(subject_environment("SUBJECT_GO"), F_OK) == 0; }

static inline void subject_wait_for_go(void) {
  while (!subject_may_go()) subject_sleep_ms(2);
}

static inline void subject_ready(void) {
  subject_announce();
  subject_wait_for_go();
}

static inline pid_t subject_thread_id(void) { return (pid_t)syscall(SYS_gettid); }

// Waits until thread `tid` of this process sleeps in a system call. Only before the first checkpoint (/proc must be
// this namespace's).
static inline void subject_wait_until_blocked(pid_t tid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
  for (int times = 0; times < 3;) {
    char text[256] = "";
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0) subject_fail("cannot read %s", path);
    close(file);
    const char* state = strrchr(text, ')');
    times = state != NULL && state[2] == 'S' ? times + 1 : 0;
    subject_sleep_ms(1);
  }
}

// Until every thread but the calling one sleeps, also where thread ids are not what they were.
static inline void subject_wait_until_others_blocked(void) {
  DIR* const tasks = opendir("/proc/self/task");
  const pid_t self = (pid_t)syscall(SYS_gettid);
  for (struct dirent* task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
    const pid_t tid = (pid_t)atoi(task->d_name);
    if (tid > 0 && tid != self) subject_wait_until_blocked(tid);
  }
  if (tasks != NULL) closedir(tasks);
}

static inline double subject_seconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
