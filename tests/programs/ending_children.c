// Threads that make children all the time, each of which has threads of its own and ends with them running: whenever it
// is frozen, some child is in the middle of its end.
// subject: never-rests
#include <pthread.h>
#include <sys/wait.h>

#include "subject.h"

enum { kMakers = 3, kThreadsOfChild = 3 };

static volatile int over;
static long made[kMakers];
static long wrong[kMakers];

static void* wait_for_end(void* unused) {
  (void)unused;
  for (;;) pause();
  return NULL;
}

static void live_as_child(int number) {
  for (int i = 0; i < kThreadsOfChild; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_end, NULL) != 0) _exit(99);
  }
  subject_sleep_ms(number % 3);
  _exit(number % 7);
}

static void* make_children(void* of_maker) {
  const long maker = (long)of_maker;
  while (!over) {
    const int number = (int)made[maker];
    const pid_t child = fork();
    if (child == 0) live_as_child(number);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != number % 7)
      ++wrong[maker];
    ++made[maker];
  }
  return NULL;
}

int main(void) {
  pthread_t makers[kMakers];
  for (long maker = 0; maker < kMakers; ++maker)
    SUBJECT_NEED(pthread_create(&makers[maker], NULL, make_children, (void*)maker) == 0);

  subject_ready();

  const long before = made[0];
  while (made[0] < before + 10) subject_sleep_ms(1);
  over = 1;
  for (int maker = 0; maker < kMakers; ++maker) {
    SUBJECT_CHECK(pthread_join(makers[maker], NULL) == 0);
    SUBJECT_CHECK(made[maker] > 0 && wrong[maker] == 0, "%ld of %ld", wrong[maker], made[maker]);
  }
  SUBJECT_CHECK(waitpid(-1, NULL, 0) < 0 && errno == ECHILD, "a child is left");
  subject_ok();
}
