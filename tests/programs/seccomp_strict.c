// A thread in seccomp's strict mode, which allows read(2), write(2), exit(2) and the return from signal handlers: it
// goes on in its read and is killed for any other call. The other threads are free, and can read the time stamp
// counter, which strict mode takes away.
// subject: root-only
#include <pthread.h>
#include <x86intrin.h>

#include "seccomp.h"

static int to_thread[2];
static int from_thread[2];

static void* strict(void* survived) {
  char byte;
  SUBJECT_NEED(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
  if (write(from_thread[1], "s", 1) != 1) return NULL;
  if (read(to_thread[0], &byte, 1) != 1) return NULL;
  if (write(from_thread[1], &byte, 1) != 1) return NULL;
  syscall(SYS_getuid);
  *(volatile int*)survived = 1;
  while (read(to_thread[0], &byte, 1) == 1) {
  }
  return NULL;
}

int main(void) {
  pthread_t thread;
  volatile int survived = 0;
  char byte = 0;
  SUBJECT_NEED(pipe(to_thread) == 0 && pipe(from_thread) == 0);
  SUBJECT_NEED(pthread_create(&thread, NULL, strict, (void*)&survived) == 0);
  SUBJECT_NEED(read(from_thread[0], &byte, 1) == 1 && byte == 's');

  subject_ready();

  SUBJECT_CHECK(__rdtsc() != 0);
  SUBJECT_CHECK(write(to_thread[1], "x", 1) == 1 && read(from_thread[0], &byte, 1) == 1 && byte == 'x');
  close(to_thread[1]);
  pthread_join(thread, NULL);
  SUBJECT_CHECK(!survived, "a thread in strict mode could ask for its user id");
  seccomp_check(SYS_getuid, 0);
  subject_ok();
}
