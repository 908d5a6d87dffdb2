// A program that gets a child with the same memory (clone(2) with CLONE_VM) when it is told to: by SIGUSR1 one that
// stays and writes, by SIGUSR2 one after the other, each for a moment only. Its memory is as the writers left it.
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "subject.h"

enum { kPages = 12288, kWords = 512, kStack = 65536 };

static long (*pages)[kWords];
static volatile long last;  // page N % kPages was last written with N
static char stack[kStack];
static volatile int wanted;

static void note(int signal) { wanted = signal; }

// Until `moments` have passed; for ever with a negative number.
static int write_pages(void* of_moments) {
  long moments = (long)of_moments;
  const struct timespec moment = {.tv_nsec = 1000000};
  for (; moments != 0; --moments) {
    for (int i = 0; i < 50; ++i) {
      const long next = last + 1;
      pages[next % kPages][0] = next;
      last = next;
    }
    syscall(SYS_nanosleep, &moment, NULL);
  }
  return 0;
}

static pid_t make(long moments) {
  const pid_t child = clone(write_pages, stack + kStack, CLONE_VM | SIGCHLD, (void*)moments);
  SUBJECT_NEED(child > 0);
  return child;
}

int main(void) {
  enum { kMoments = 5 };
  pages = mmap(NULL, sizeof *pages * kPages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(pages != MAP_FAILED && signal(SIGUSR1, note) != SIG_ERR && signal(SIGUSR2, note) != SIG_ERR);
  for (long page = 0; page < kPages; ++page) pages[page][0] = page == 0 ? 0 : page - kPages;
  pid_t child = 0;
  subject_announce();
  while (!subject_may_go()) {
    if (wanted == SIGUSR1 && child == 0) child = make(-1);
    if (wanted == SIGUSR2) SUBJECT_CHECK(waitpid(make(kMoments), NULL, 0) > 0);
    subject_sleep_ms(1);
  }
  if (child != 0) SUBJECT_CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
  // The writer may have been ended between the page and the note of it.
  const long written = pages[(last + 1) % kPages][0] == last + 1 ? last + 1 : last;
  for (long page = 0; page < kPages; ++page) {
    const long expected = written - ((written - page) % kPages + kPages) % kPages;
    SUBJECT_CHECK(pages[page][0] == expected, "page %ld: %ld instead of %ld", page, pages[page][0], expected);
  }
  SUBJECT_CHECK(wanted == 0 || written > 0);
  subject_ok();
}
