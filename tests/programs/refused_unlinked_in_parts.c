// An unlinked file that is not open any more, of which a process maps a part, shared, and its child more, for a user
// who cannot open it: what only the child maps is not known when the file's content is read.
// subject: ordinary-only
// subject: refused maps more of
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "memory.h"

#define PAGES 8

int main(void) {
  const int file = memory_file("in-parts", PAGES * PAGE, 60);
  char* const place = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  SUBJECT_NEED(unlink("in-parts") == 0 && close(file) == 0);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  SUBJECT_NEED(munmap(place + 4 * PAGE, 4 * PAGE) == 0);
  subject_ready();
  MEMORY_CHECK(place, 4 * PAGE, 60);
  SUBJECT_CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
  subject_ok();
}
