// An unlinked file of which a process maps a part, shared, and has it not open, while its child, which is captured
// after it, has: all of the file comes back, also what only the descriptor leads to, or only the child maps.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "memory.h"

#define PAGES 8

// The child, until it is told to look: what it then finds is its exit status.
static int look(int file, const char* place) {
  sigset_t asked;
  int number = 0;
  sigemptyset(&asked);
  sigaddset(&asked, SIGUSR1);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (sigwait(&asked, &number) != 0) return 1;
  static uint64_t content[PAGES * PAGE / 8];
  if (pread(file, content, sizeof content, 0) != (ssize_t)sizeof content) return 2;
  for (size_t i = 0; i < PAGES * PAGE / 8; ++i) {
    if (content[i] != memory_word(70, i)) return 3;
    if (place != NULL && ((const uint64_t*)place)[i] != content[i]) return 4;
  }
  return 0;
}

int main(void) {
  pid_t children[2];
  char* places[2];
  sigset_t asked;
  sigemptyset(&asked);
  sigaddset(&asked, SIGUSR1);
  SUBJECT_NEED(sigprocmask(SIG_BLOCK, &asked, NULL) == 0);
  for (int i = 0; i < 2; ++i) {
    const char* const name = i == 0 ? "open-elsewhere" : "open-and-mapped-elsewhere";
    const int file = memory_file(name, PAGES * PAGE, 70);
    places[i] = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    children[i] = fork();
    SUBJECT_NEED(children[i] >= 0);
    if (children[i] == 0) {
      if (i == 0) munmap(places[i], PAGES * PAGE);
      _exit(look(file, i == 0 ? NULL : places[i]));
    }
    SUBJECT_NEED(munmap(places[i] + 4 * PAGE, 4 * PAGE) == 0);
    SUBJECT_NEED(unlink(name) == 0 && close(file) == 0);
  }
  subject_ready();
  for (int i = 0; i < 2; ++i) {
    MEMORY_CHECK(places[i], 4 * PAGE, 70);
    int status = -1;
    SUBJECT_CHECK(kill(children[i], SIGUSR1) == 0 && waitpid(children[i], &status, 0) == children[i] && status == 0,
                  "child %d ended with %#x", i, status);
  }
  subject_ok();
}
