// What a process is beside memory and descriptors: working directory, umask, limits, nice, processors, I/O priority,
// names and the settings of prctl(2), for the main thread and for another one.
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "second_thread.h"

#define IDLE_CLASS (3 << 13)

static void set_limit(int resource, rlim_t soft, rlim_t hard) {
  const struct rlimit limit = {soft, hard};
  SUBJECT_NEED(setrlimit(resource, &limit) == 0);
}

static void check_limit(int resource, rlim_t soft, rlim_t hard) {
  struct rlimit limit;
  SUBJECT_CHECK(getrlimit(resource, &limit) == 0 && limit.rlim_cur == soft && limit.rlim_max == hard,
                "limit %d is %lu, %lu", resource, (unsigned long)limit.rlim_cur, (unsigned long)limit.rlim_max);
}

static void check_name(const char* wanted) {
  char name[16];
  SUBJECT_CHECK(prctl(PR_GET_NAME, name) == 0 && strcmp(name, wanted) == 0, "the name is %s", name);
}

static void* other_thread(void* barrier) {
  SUBJECT_NEED(prctl(PR_SET_NAME, "other (thread)") == 0 && prctl(PR_SET_TIMERSLACK, 777000) == 0);
  SUBJECT_NEED(setpriority(PRIO_PROCESS, 0, 11) == 0);  // of this thread alone
  second_thread_is_set_up(barrier);
  check_name("other (thread)");
  SUBJECT_CHECK(prctl(PR_GET_TIMERSLACK) == 777000);
  SUBJECT_CHECK(getpriority(PRIO_PROCESS, 0) == 11, "nice is %d", getpriority(PRIO_PROCESS, 0));
  SUBJECT_CHECK(syscall(SYS_ioprio_get, 1, 0) != IDLE_CLASS);
  return NULL;
}

int main(void) {
  char directory[] = "/tmp/crs subject-XXXXXX";
  SUBJECT_NEED(mkdtemp(directory) != NULL && chdir(directory) == 0);
  umask(0117);
  const pthread_t thread = start_second_thread(other_thread);
  set_limit(RLIMIT_NOFILE, 60, 70);
  set_limit(RLIMIT_CORE, 0, 100 << 20);
  set_limit(RLIMIT_FSIZE, 1 << 30, RLIM_INFINITY);
  set_limit(RLIMIT_AS, 8UL << 40, 9UL << 40);
  SUBJECT_NEED(setpriority(PRIO_PROCESS, 0, 5) == 0);
  SUBJECT_NEED(syscall(SYS_ioprio_set, 1, 0, IDLE_CLASS) == 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  SUBJECT_NEED(sched_setaffinity(0, sizeof one, &one) == 0);
  SUBJECT_NEED(prctl(PR_SET_NAME, "main\tthread \xff") == 0 && prctl(PR_SET_TIMERSLACK, 123456) == 0);
  const int chooses_timer_ids = prctl(77 /* PR_TIMER_CREATE_RESTORE_IDS: Linux 6.15 */, 1, 0, 0, 0) == 0;
  SUBJECT_NEED(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
  SUBJECT_NEED(prctl(PR_SET_KEEPCAPS, 1) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  const int adjustment = open("/proc/self/oom_score_adj", O_WRONLY);
  SUBJECT_NEED(write(adjustment, "321", 3) == 3 && close(adjustment) == 0);

  subject_ready();

  char now[256];
  SUBJECT_CHECK(getcwd(now, sizeof now) != NULL && strcmp(now, directory) == 0, "the working directory is %s", now);
  const mode_t mask = umask(0);
  SUBJECT_CHECK(mask == 0117, "the umask is %o", mask);
  check_limit(RLIMIT_NOFILE, 60, 70);
  check_limit(RLIMIT_CORE, 0, 100 << 20);
  check_limit(RLIMIT_FSIZE, 1 << 30, RLIM_INFINITY);
  check_limit(RLIMIT_AS, 8UL << 40, 9UL << 40);
  SUBJECT_CHECK(getpriority(PRIO_PROCESS, 0) == 5, "nice is %d", getpriority(PRIO_PROCESS, 0));
  SUBJECT_CHECK(syscall(SYS_ioprio_get, 1, 0) == IDLE_CLASS);
  cpu_set_t processors;
  SUBJECT_CHECK(sched_getaffinity(0, sizeof processors, &processors) == 0 && CPU_EQUAL(&processors, &one),
                "another set of processors");
  check_name("main\tthread \xff");
  SUBJECT_CHECK(!chooses_timer_ids || prctl(77, 2, 0, 0, 0) == 1, "the ids of timers are not chosen any more");
  SUBJECT_CHECK(prctl(PR_GET_TIMERSLACK) == 123456);
  int subreaper = 0;
  SUBJECT_CHECK(prctl(PR_GET_CHILD_SUBREAPER, &subreaper) == 0 && subreaper == 1);
  SUBJECT_CHECK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1);
  SUBJECT_CHECK(prctl(PR_GET_KEEPCAPS) == 1 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 &&
                prctl(PR_GET_DUMPABLE) == 1);
  int signal = -1;
  SUBJECT_CHECK(prctl(PR_GET_PDEATHSIG, &signal) == 0 && signal == 0, "the parent-death signal is %d", signal);
  char text[16] = "";
  const int file = open("/proc/self/oom_score_adj", O_RDONLY);
  SUBJECT_CHECK(read(file, text, sizeof text - 1) > 0 && atoi(text) == 321, "oom_score_adj is %s", text);
  pthread_join(thread, NULL);
  SUBJECT_CHECK(chdir("/") == 0 && rmdir(directory) == 0);
  subject_ok();
}
