// Personality flags, of the process and of a thread of its own mind.
#include <sys/personality.h>
#include <sys/utsname.h>

#include "second_thread.h"

static void* other_thread(void* barrier) {
  SUBJECT_NEED(personality(ADDR_COMPAT_LAYOUT) >= 0);
  second_thread_is_set_up(barrier);
  SUBJECT_CHECK(personality(0xffffffff) == ADDR_COMPAT_LAYOUT, "personality %#x", personality(0xffffffff));
  return NULL;
}

int main(void) {
  const pthread_t thread = start_second_thread(other_thread);
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
