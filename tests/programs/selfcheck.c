// Checks itself all the time and on everything a checkpointer could spoil: integer, floating-point and vector arithmetic, system calls
// with results, futexes, timed sleeps, and signals in flight between threads. Says at once what went wrong.
//
// With SUBJECT_BEAT=FILE it writes, about twenty times a second, one line with the progress of each thread to FILE (replaced as a whole),
// so that an onlooker sees whether every thread goes on.
// subject: also-static
// subject: keeps-running 0.2
// subject: ids namespace
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>

#include "subject.h"

static _Atomic int stop;
static _Atomic long progress[16];

// --- Arithmetic ---

__attribute__((noipa)) static uint64_t integer_chain(uint64_t state) {
  for (int i = 0; i < 2000; i++) state = state * 6364136223846793005u + 1442695040888963407u;
  return state;
}

__attribute__((noipa)) static double float_chain(double value) {
  for (int i = 0; i < 2000; i++) value = value * 0.999 + 1.0 / (value + i + 1);
  return value;
}

typedef float Vector __attribute__((vector_size(32), aligned(32)));
__attribute__((noipa)) static float vector_chain(float seed) {
  Vector value, factor;
  for (int i = 0; i < 8; i++) {
    value[i] = seed + (float)i;
    factor[i] = 0.5f + 0.0625f * (float)i;
  }
  for (int i = 0; i < 2000; i++) value = value * factor + 1.0f;
  float sum = 0;
  for (int i = 0; i < 8; i++) sum += value[i];
  return sum;
}

static void* compute(void* argument) {
  const int number = (int)(intptr_t)argument;
  const uint64_t integer = integer_chain((uint64_t)number);
  const double real = float_chain(number);
  const float vector = vector_chain((float)number);
  while (!stop) {
    SUBJECT_CHECK(integer_chain((uint64_t)number) == integer, "thread %d: integer arithmetic", number);
    SUBJECT_CHECK(float_chain(number) == real, "thread %d: floating-point arithmetic", number);
    SUBJECT_CHECK(vector_chain((float)number) == vector, "thread %d: vector arithmetic", number);
    progress[number]++;
  }
  return NULL;
}

// --- System calls ---

static void* call(void* argument) {
  const int number = (int)(intptr_t)argument;
  int ends[2];
  SUBJECT_NEED(pipe(ends) == 0);
  const pid_t process = getpid(), thread = subject_thread_id();
  for (uint64_t round = 0; !stop; round++) {
    uint64_t text[64], back[64];
    for (int i = 0; i < 64; i++) text[i] = round * 64 + (uint64_t)i;
    SUBJECT_CHECK(write(ends[1], text, sizeof text) == sizeof text);
    SUBJECT_CHECK(read(ends[0], back, sizeof back) == sizeof back && memcmp(text, back, sizeof text) == 0, "the pipe");
    SUBJECT_CHECK(syscall(SYS_getpid) == process && syscall(SYS_gettid) == thread, "the ids");
    SUBJECT_CHECK(syscall(SYS_read, -1, text, 1) == -1 && errno == EBADF, "read of descriptor -1");
    struct stat status;
    SUBJECT_CHECK(stat("/", &status) == 0 && S_ISDIR(status.st_mode), "stat");
    const off_t position = lseek(ends[0], 0, SEEK_CUR);
    SUBJECT_CHECK(position == -1 && errno == ESPIPE, "lseek of a pipe gave %ld", (long)position);
    progress[number]++;
  }
  return NULL;
}

static void* sleep_shortly(void* argument) {
  const int number = (int)(intptr_t)argument;
  while (!stop) {
    const double begin = subject_seconds(CLOCK_MONOTONIC);
    struct timespec time = {0, 3000000}, rest;
    int result = nanosleep(&time, &rest);
    // Where the checkpointer was killed while it held this thread, the kernel may say EINTR, with the time that remains.
    while (result == -1 && errno == EINTR) {
      time = rest;
      result = nanosleep(&time, &rest);
    }
    SUBJECT_CHECK(result == 0, "nanosleep");
    const double took = subject_seconds(CLOCK_MONOTONIC) - begin;
    SUBJECT_CHECK(took > 0.0029, "a sleep of 3 ms took %f s", took);
    progress[number]++;
  }
  return NULL;
}

// Two threads hand a number to and fro.
static _Atomic int turn;
static void* play(void* argument) {
  const int number = (int)(intptr_t)argument, side = number % 2;
  while (!stop) {
    const int seen = turn;
    if (seen % 2 == side) {
      turn = seen + 1;
      syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
      progress[number]++;
      continue;
    }
    const struct timespec limit = {0, 200000000};
    const long result = syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, seen, &limit, NULL, 0);
    SUBJECT_CHECK(result == 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT, "futex returned %ld", result);
  }
  return NULL;
}

// --- Signals ---

static __thread volatile long received;
static __thread volatile int expected_value;
static _Atomic long sent, handled;

static void on_signal(int number, siginfo_t* info, void* context) {
  (void)context;
  SUBJECT_CHECK(number == SIGRTMIN && info->si_code == SI_QUEUE, "signal %d with code %d", number, info->si_code);
  SUBJECT_CHECK(info->si_value.sival_int == expected_value, "signal value %d instead of %d", info->si_value.sival_int, expected_value);
  expected_value++;
  received++;
  handled++;
  vector_chain((float)number);
}

static void* receive(void* argument) {
  const int number = (int)(intptr_t)argument;
  const double real = float_chain(number);
  while (!stop || handled < sent) {
    SUBJECT_CHECK(float_chain(number) == real, "floating-point arithmetic under signals");
    progress[number] = received;
  }
  return NULL;
}

static pthread_t receiver;
static void* send(void* argument) {
  const int number = (int)(intptr_t)argument;
  for (int value = 0; !stop;) {
    if (sent - handled < 20) {
      SUBJECT_CHECK(pthread_sigqueue(receiver, SIGRTMIN, (union sigval){.sival_int = value}) == 0, "pthread_sigqueue");
      value++;
      sent++;
      progress[number]++;
    } else {
      subject_sleep_ms(1);
    }
  }
  return NULL;
}

// --- The whole ---

static void* (*const kThreads[])(void*) = {compute, compute, call, sleep_shortly, play, play, receive, send};
enum { kCount = sizeof kThreads / sizeof *kThreads };

static void write_beat(void) {
  const char* path = getenv("SUBJECT_BEAT");
  if (path == NULL) return;
  char text[512] = "", beside[400];
  for (int i = 0; i < kCount; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "%ld ", progress[i]);
  snprintf(beside, sizeof beside, "%s.new", path);
  const int file = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  SUBJECT_CHECK(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
  close(file);
  SUBJECT_CHECK(rename(beside, path) == 0);
}

int main(void) {
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigaction(SIGRTMIN, &action, NULL);
  pthread_t threads[kCount];
  for (intptr_t i = 0; i < kCount; i++) {
    SUBJECT_NEED(pthread_create(&threads[i], NULL, kThreads[i], (void*)i) == 0);
    if (kThreads[i] == receive) receiver = threads[i];
  }
  for (int i = 0; i < kCount; i++) {
    while (progress[i] == 0) subject_sleep_ms(1);
  }
  subject_announce();
  while (!subject_may_go()) {
    write_beat();
    subject_sleep_ms(50);
  }
  stop = 1;
  turn += 2;
  syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0);
  for (int i = 0; i < kCount; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  SUBJECT_CHECK(handled == sent, "%ld signals sent, %ld handled", sent, handled);
  subject_ok();
}
