// A signal that comes after the restart interrupts a blocked call exactly as it would have: EINTR without SA_RESTART,
// going on with it.
// subject: also-static
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>

#include "subject.h"

static int pipes[4][2];
static _Atomic pid_t ids[4];
static _Atomic int handled;

static void on_signal(int unused) {
  (void)unused;
  handled++;
}

static void* in_read(void* argument) {
  ids[0] = subject_thread_id();
  char byte;
  SUBJECT_CHECK(read(pipes[0][0], &byte, 1) == -1 && errno == EINTR, "read without SA_RESTART");
  return argument;
}

static void* in_restarted_read(void* argument) {
  ids[1] = subject_thread_id();
  char byte = 0;
  SUBJECT_CHECK(read(pipes[1][0], &byte, 1) == 1 && byte == 'x', "read with SA_RESTART");
  return argument;
}

static void* in_sleep(void* argument) {
  ids[2] = subject_thread_id();
  const struct timespec time = {600, 0};
  struct timespec rest = {0, 0};
  SUBJECT_CHECK(nanosleep(&time, &rest) == -1 && errno == EINTR, "nanosleep is never restarted after a handler");
  SUBJECT_CHECK(rest.tv_sec >= 500 && rest.tv_sec < 600, "%ld s remain", rest.tv_sec);
  return argument;
}

static void* in_poll(void* argument) {
  ids[3] = subject_thread_id();
  struct pollfd entry = {pipes[3][0], POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 600000) == -1 && errno == EINTR, "poll is never restarted after a handler");
  return argument;
}

int main(void) {
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR1, &action, NULL);
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR2, &action, NULL);
  void* (*const calls[4])(void*) = {in_read, in_restarted_read, in_sleep, in_poll};
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) SUBJECT_NEED(pipe(pipes[i]) == 0);
  for (int i = 0; i < 4; i++) {
    SUBJECT_NEED(pthread_create(&threads[i], NULL, calls[i], NULL) == 0);
    while (ids[i] == 0) subject_sleep_ms(1);
    subject_wait_until_blocked(ids[i]);
  }
  subject_ready();
  SUBJECT_CHECK(handled == 0);
  pthread_kill(threads[0], SIGUSR1);
  pthread_kill(threads[1], SIGUSR2);
  pthread_kill(threads[2], SIGUSR2);
  pthread_kill(threads[3], SIGUSR2);
  while (handled < 4) subject_sleep_ms(1);
  SUBJECT_CHECK(write(pipes[1][1], "x", 1) == 1);
  for (int i = 0; i < 4; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  subject_ok();
}
