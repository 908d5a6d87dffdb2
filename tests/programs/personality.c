// Personality flags, of the process and of a thread of its own mind.
#include <pthread.h>
#include <sys/personality.h>
#include <sys/utsname.h>

#include "subject.h"

static void* other_thread(void* barrier) {
  SUBJECT_NEED(personality(ADDR_COMPAT_LAYOUT) >= 0);
  pthread_barrier_wait(barrier);
  subject_wait_for_go();
  SUBJECT_CHECK(personality(0xffffffff) == ADDR_COMPAT_LAYOUT, "personality %#x", personality(0xffffffff));
  return NULL;
}

int main(void) {
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, other_thread, &barrier) == 0);
  pthread_barrier_wait(&barrier);
  SUBJECT_NEED(personality(ADDR_NO_RANDOMIZE | UNAME26 | STICKY_TIMEOUTS) >= 0);
  struct utsname before;
  uname(&before);

  subject_ready();

  SUBJECT_CHECK(personality(0xffffffff) == (ADDR_NO_RANDOMIZE | UNAME26 | STICKY_TIMEOUTS), "personality %#x",
                personality(0xffffffff));
  struct utsname after;
  SUBJECT_CHECK(uname(&after) == 0 && strcmp(before.release, after.release) == 0 &&
                strncmp(after.release, "2.6.", 4) == 0);
  pthread_join(thread, NULL);
  subject_ok();
}
