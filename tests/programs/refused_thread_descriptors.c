// subject: refused descriptor table of its own
#include <pthread.h>
#include <sched.h>

#include "subject.h"

static void* other_thread(void* barrier) {
  SUBJECT_NEED(unshare(CLONE_FILES) == 0 && dup2(STDOUT_FILENO, 77) == 77);
  pthread_barrier_wait(barrier);
  subject_wait_for_go();
  SUBJECT_CHECK(fcntl(77, F_GETFD) == 0);
  return NULL;
}

int main(void) {
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, other_thread, &barrier) == 0);
  pthread_barrier_wait(&barrier);
  subject_ready();
  pthread_join(thread, NULL);
  subject_ok();
}
