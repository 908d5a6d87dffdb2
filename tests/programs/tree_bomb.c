// A bounded fork bomb, frozen while processes are being made and are ending everywhere in it: every process makes
// children, which make children, and waits for them. Nobody is lost and nobody is there twice.
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "subject.h"

enum { kMost = 60, kDepth = 4 };

struct shared {
  atomic_int alive;
  atomic_long born;
  atomic_long ended;
  atomic_int stop;
  atomic_int broken;
};

static struct shared* shared;

static void explode(int depth) {
  while (!atomic_load(&shared->stop)) {
    if (depth == kDepth || atomic_fetch_add(&shared->alive, 1) >= kMost) {
      if (depth != kDepth) atomic_fetch_sub(&shared->alive, 1);
      subject_sleep_ms(1);
      if (depth > 0) return;
      continue;
    }
    const pid_t pid = fork();
    if (pid < 0) atomic_store(&shared->broken, 1);
    if (pid == 0) {
      atomic_fetch_add(&shared->born, 1);
      explode(depth + 1);
      atomic_fetch_add(&shared->ended, 1);
      _exit(depth + 1);
    }
    if (depth % 2 == 0) {  // the next one at once
      const pid_t other = fork();
      if (other == 0) {
        atomic_fetch_add(&shared->born, 1);
        subject_sleep_ms(2);
        atomic_fetch_add(&shared->ended, 1);
        _exit(depth + 1);
      }
      int status = 0;
      if (waitpid(other, &status, 0) != other || status != (depth + 1) << 8) atomic_store(&shared->broken, 2);
    }
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || status != (depth + 1) << 8) atomic_store(&shared->broken, 3);
    atomic_fetch_sub(&shared->alive, 1);
  }
}

int main(void) {
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(shared != MAP_FAILED);
  enum { kTrunks = 6 };
  pid_t trunks[kTrunks];
  for (int i = 0; i < kTrunks; ++i) {
    trunks[i] = fork();
    SUBJECT_NEED(trunks[i] >= 0);
    if (trunks[i] == 0) {
      explode(0);
      _exit(0);
    }
  }
  while (atomic_load(&shared->born) < 50) subject_sleep_ms(1);

  subject_ready();

  const long before = atomic_load(&shared->born);
  while (atomic_load(&shared->born) < before + 50) subject_sleep_ms(1);
  atomic_store(&shared->stop, 1);
  for (int i = 0; i < kTrunks; ++i) {
    int status = 0;
    SUBJECT_CHECK(waitpid(trunks[i], &status, 0) == trunks[i] && status == 0, "trunk %d: %#x", i, (unsigned)status);
  }
  SUBJECT_CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "there is a child too many");
  SUBJECT_CHECK(atomic_load(&shared->broken) == 0, "a parent found its child otherwise: %d",
                atomic_load(&shared->broken));
  SUBJECT_CHECK(atomic_load(&shared->born) == atomic_load(&shared->ended), "%ld born, %ld ended",
                atomic_load(&shared->born), atomic_load(&shared->ended));
  subject_ok();
}
