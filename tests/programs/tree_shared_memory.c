// Anonymous memory that a parent shares with its children and grandchildren: it stays one, with a process-shared robust
// mutex in it, held by one of them over the checkpoint, while another waits for it. One of them has a second view.
// subject: link pthread
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "subject.h"

enum { kPages = 64, kPage = 4096, kWorkers = 4, kRounds = 1000 };

struct shared {
  pthread_mutex_t mutex;
  pthread_mutex_t held;
  volatile int holds;
  volatile int release;
  volatile long sum;
  volatile int go;
  volatile int parted;
  char pages[kPages][kPage];
};

static struct shared* shared;

static void work(int number) {
  while (!shared->go) subject_sleep_ms(1);
  for (int i = 0; i < kRounds; ++i) {
    if (pthread_mutex_lock(&shared->mutex) != 0) _exit(2);
    shared->sum += 1;
    pthread_mutex_unlock(&shared->mutex);
  }
  memset(shared->pages[number], 'a' + number, kPage);
  if (number > 0) _exit(0);
  // The grandchild's end is its parent's.
  int status = 0;
  if (wait(&status) < 0 || status != 0) _exit(3);
  _exit(0);
}

static void hold(void) {
  pthread_mutex_lock(&shared->held);
  shared->holds = 1;
  while (!shared->release) subject_sleep_ms(1);
  pthread_mutex_unlock(&shared->held);
  _exit(0);
}

enum { kApart = 6 };

// Memory of which each shows another part, and nobody all: this process the first page, a child the third and fourth.
static char* share_apart(void) {
  char* const pages = mmap(NULL, kApart * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(pages != MAP_FAILED);
  for (int page = 0; page < kApart; ++page) memset(pages + page * kPage, 'A' + page, kPage);
  const pid_t pid = fork();
  SUBJECT_NEED(pid >= 0);
  if (pid == 0) {
    if (munmap(pages, 2 * kPage) != 0 || munmap(pages + 4 * kPage, 2 * kPage) != 0) _exit(5);
    shared->parted = 1;
    while (!shared->go) subject_sleep_ms(1);
    pages[2 * kPage] = 'x';
    _exit(0);
  }
  while (!shared->parted) subject_sleep_ms(1);
  SUBJECT_NEED(munmap(pages + kPage, (kApart - 1) * kPage) == 0);
  return pages;
}

static void expect_apart(char* pages) {
  const char* const all = mremap(pages, 0, kApart * kPage, MREMAP_MAYMOVE);
  SUBJECT_CHECK(all != MAP_FAILED);
  for (int page = 0; page < kApart; ++page) {
    SUBJECT_CHECK(all[page * kPage] == (page == 2 ? 'x' : 'A' + page) && all[(page + 1) * kPage - 1] == 'A' + page,
                  "page %d, which perhaps nobody had mapped, has %d", page, all[page * kPage]);
  }
}

int main(void) {
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(shared != MAP_FAILED);
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  SUBJECT_NEED(pthread_mutex_init(&shared->mutex, &attributes) == 0);
  SUBJECT_NEED(pthread_mutex_init(&shared->held, &attributes) == 0);
  for (int page = 0; page < kPages; ++page) memset(shared->pages[page], page, kPage);

  char* const apart = share_apart();
  for (int number = 0; number < kWorkers; ++number) {
    const pid_t pid = fork();
    SUBJECT_NEED(pid >= 0);
    if (pid != 0) continue;
    if (number == 0) {
      const pid_t grandchild = fork();
      if (grandchild == 0) {
        // A view of its own, of which nobody else knows.
        char* const view = mremap(shared->pages[32], 0, 8 * kPage, MREMAP_MAYMOVE);
        (void)view;
        work(kWorkers);
      }
    }
    work(number);
  }
  const pid_t holder = fork();
  if (holder == 0) hold();
  while (!shared->holds) subject_sleep_ms(1);
  const pid_t waiter = fork();
  if (waiter == 0) _exit(pthread_mutex_lock(&shared->held) == 0 && pthread_mutex_unlock(&shared->held) == 0 ? 0 : 4);

  subject_ready();

  for (int page = 0; page < kPages; ++page) {
    SUBJECT_CHECK(shared->pages[page][0] == (char)page && shared->pages[page][kPage - 1] == (char)page, "page %d",
                  page);
  }
  SUBJECT_CHECK(waitpid(waiter, NULL, WNOHANG) == 0, "the mutex is not held any more");
  shared->go = 1;
  shared->release = 1;
  for (int ended = 0; ended < kWorkers + 3; ++ended) {
    int status = 0;
    const pid_t pid = wait(&status);
    SUBJECT_CHECK(pid > 0 && status == 0, "process %d ended with %#x", (int)pid, (unsigned)status);
  }
  expect_apart(apart);
  SUBJECT_CHECK(shared->sum == (kWorkers + 1) * (long)kRounds, "%ld", shared->sum);
  for (int number = 0; number <= kWorkers; ++number) {
    SUBJECT_CHECK(shared->pages[number][5] == 'a' + number, "the memory is not shared any more with %d", number);
  }
  subject_ok();
}
