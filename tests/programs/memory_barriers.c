// Registrations for memory barriers (membarrier(2)): those that were made still hold, others were not made.
// subject: ids new
#include <linux/membarrier.h>
#include <pthread.h>

#include "subject.h"

enum { kGetRegistrations = 1 << 9 };  // MEMBARRIER_CMD_GET_REGISTRATIONS, Linux 6.3

static long barrier(int command) { return syscall(SYS_membarrier, command, 0, 0); }

static void* run(void* unused) {
  subject_wait_for_go();
  SUBJECT_CHECK(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0, "no private barrier: %s", strerror(errno));
  return unused;
}

int main(void) {
  if (barrier(MEMBARRIER_CMD_QUERY) < 0) subject_skip("this kernel has no membarrier");
  SUBJECT_NEED(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0);
  SUBJECT_NEED(barrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, run, NULL) == 0);
  const long before = barrier(kGetRegistrations);
  SUBJECT_NEED(before < 0
                   ? errno == EINVAL
                   : before == (MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED));
  subject_ready();
  SUBJECT_CHECK(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0, "no private barrier: %s", strerror(errno));
  if (before >= 0) {
    const long after = barrier(kGetRegistrations);
    SUBJECT_CHECK(after == before, "the registrations are %#lx and were %#lx", after, before);
    SUBJECT_CHECK(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE) == -1 && errno == EPERM);
  }
  SUBJECT_CHECK(pthread_join(thread, NULL) == 0);
  subject_ok();
}
