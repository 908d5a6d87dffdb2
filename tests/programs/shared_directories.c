// Processes that have one working directory and umask (clone(2) with CLONE_FS), and one descriptor table besides:
// chdir(2) and umask(2) of one are the other's.
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "subject.h"

struct board {
  int wanted;  // 1: the child goes to `other` and sets its umask, 2: it opens descriptor 120
  int done;
  int ready;
};

static struct board* board;
static char folder[128];
static char other[128];

static pid_t make(unsigned long long flags) {
  struct clone_args how = {.flags = flags, .exit_signal = SIGCHLD};
  const pid_t child = (pid_t)syscall(SYS_clone3, &how, sizeof how);
  SUBJECT_NEED(child >= 0);
  return child;
}

static void serve(void) {
  board->ready = 1;
  for (;;) {
    const int wanted = __atomic_exchange_n(&board->wanted, 0, __ATOMIC_ACQ_REL);
    if (wanted == 1) board->done = chdir(other) == 0 && umask(0027) == 0077 ? 1 : -1;
    if (wanted == 2) board->done = dup2(0, 120) == 120 ? 1 : -1;
    subject_sleep_ms(1);
  }
}

static void tell(int wanted) {
  __atomic_store_n(&board->done, 0, __ATOMIC_RELEASE);
  __atomic_store_n(&board->wanted, wanted, __ATOMIC_RELEASE);
  int done = 0;
  while ((done = __atomic_load_n(&board->done, __ATOMIC_ACQUIRE)) == 0) subject_sleep_ms(1);
  SUBJECT_CHECK(done == 1, "wish %d", wanted);
}

static void expect_directory(const char* wanted) {
  char now[128];
  SUBJECT_CHECK(getcwd(now, sizeof now) != NULL && strcmp(now, wanted) == 0, "in %s instead of %s", now, wanted);
}

int main(void) {
  board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(board != MAP_FAILED);
  snprintf(folder, sizeof folder, "%s.folder", subject_environment("SUBJECT_STATUS"));
  snprintf(other, sizeof other, "%s.other", subject_environment("SUBJECT_STATUS"));
  SUBJECT_NEED(mkdir(folder, 0700) == 0 && mkdir(other, 0700) == 0 && chdir(folder) == 0);
  umask(0022);
  const pid_t child = make(CLONE_FS | CLONE_FILES);
  if (child == 0) serve();
  // Its directories are its own, and so is its table.
  const pid_t alone = make(0);
  if (alone == 0) {
    for (;;) pause();
  }
  while (!__atomic_load_n(&board->ready, __ATOMIC_ACQUIRE)) subject_sleep_ms(1);
  umask(0077);

  subject_ready();

  expect_directory(folder);
  tell(1);
  expect_directory(other);
  SUBJECT_CHECK(umask(0002) == 0027, "the child's umask is not the parent's");
  tell(2);
  SUBJECT_CHECK(fcntl(120, F_GETFD) == 0, "the child's descriptor is not the parent's");
  char link[64];
  char there[128] = "";
  snprintf(link, sizeof link, "/proc/%d/cwd", (int)alone);
  SUBJECT_CHECK(readlink(link, there, sizeof there - 1) > 0 && strcmp(there, folder) == 0, "it went along to %s",
                there);
  kill(child, SIGKILL);
  kill(alone, SIGKILL);
  SUBJECT_CHECK(waitpid(child, NULL, 0) == child && waitpid(alone, NULL, 0) == alone);
  subject_ok();
}
