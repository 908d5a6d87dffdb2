// A program whose threads all have the same filters can still give all of them one more (SECCOMP_FILTER_FLAG_TSYNC).
// The filter around all kills for most calls that a checkpoint makes in the program's place; its memory is large enough
// to be tracked and copied while it runs, and it is written to.
// subject: root-only
// subject: checkpoint-options --incremental
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "seccomp.h"

enum { kBytes = 16 << 20, kPage = 4096 };
static volatile int stop;
static pthread_barrier_t barrier;

static void* writer(void* memory) {
  for (unsigned round = 1; !stop; ++round) {
    for (size_t at = 0; at < kBytes; at += kPage) *(volatile unsigned*)((char*)memory + at) = round;
    subject_sleep_ms(1);
  }
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  seccomp_check(SYS_getuid, ENOTTY);
  seccomp_check(SYS_getppid, EXDEV);
  return NULL;
}

static struct seccomp_filter deadly(void) {
  const long calls[] = {SYS_prctl,     SYS_userfaultfd, SYS_close_range, SYS_setsid,    SYS_wait4,          SYS_clone,
                        SYS_getitimer, SYS_sigaltstack, SYS_arch_prctl,  SYS_mremap,    SYS_personality,    SYS_ioctl,
                        SYS_kcmp,      SYS_mincore,     SYS_semop,       SYS_setrlimit, SYS_get_robust_list};
  struct seccomp_filter filter = seccomp_begin();
  for (size_t i = 0; i < sizeof calls / sizeof *calls; ++i) seccomp_answer(&filter, calls[i], SECCOMP_RET_KILL_PROCESS);
  seccomp_end(&filter, SECCOMP_RET_ALLOW);
  return filter;
}

static void child(int gate) {
  char byte;
  const int got = (int)read(gate, &byte, 1);
  errno = 0;
  _exit(got == 1 && syscall(SYS_getppid) == -1 && errno == EXDEV && getuid() == 0 ? 0 : 1);
}

int main(void) {
  char* const memory = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pthread_t thread;
  int gate[2];
  pthread_barrier_init(&barrier, NULL, 2);
  SUBJECT_NEED(memory != MAP_FAILED && pipe(gate) == 0);
  SUBJECT_NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  SUBJECT_NEED(seccomp_put(seccomp_refuse(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV), SECCOMP_FILTER_FLAG_LOG) == 0);
  const pid_t pid = fork();
  if (pid == 0) child(gate[0]);
  SUBJECT_NEED(pid > 0 && pthread_create(&thread, NULL, writer, memory) == 0);
  SUBJECT_NEED(seccomp_put(deadly(), SECCOMP_FILTER_FLAG_TSYNC) == 0);

  subject_ready();

  stop = 1;
  pthread_barrier_wait(&barrier);
  seccomp_check(SYS_getppid, EXDEV);
  seccomp_check(SYS_getuid, 0);
  const long synced = seccomp_put(seccomp_refuse(SYS_getuid, SECCOMP_RET_ERRNO | ENOTTY), SECCOMP_FILTER_FLAG_TSYNC);
  SUBJECT_CHECK(synced == 0, "a filter for all threads: %ld", synced);
  pthread_barrier_wait(&barrier);
  pthread_join(thread, NULL);
  siginfo_t end = {.si_code = 0};
  SUBJECT_CHECK(write(gate[1], "", 1) == 1);
  SUBJECT_CHECK(waitid(P_PID, (id_t)pid, &end, WEXITED) == 0 && end.si_code == CLD_EXITED && end.si_status == 0,
                "the child: %d %d", end.si_code, end.si_status);
  subject_ok();
}
