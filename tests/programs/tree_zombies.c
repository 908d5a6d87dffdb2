// Children that have ended and that nobody has waited for: each keeps its status, and their SIGCHLD, handled before the
// checkpoint, does not come twice. One has an exit signal of its own (clone(2)).
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "subject.h"

static volatile sig_atomic_t seen;

static void note(int signal) {
  (void)signal;
  ++seen;
}

static pid_t make(int exit_signal) { return (pid_t)syscall(SYS_clone, exit_signal, 0, 0, 0, 0); }

static void check_name(pid_t pid, const char* wanted) {
  char path[64];
  char name[64] = "";
  snprintf(path, sizeof path, "/proc/%d/comm", pid);
  const int file = open(path, O_RDONLY);
  SUBJECT_CHECK(file >= 0 && read(file, name, sizeof name - 1) > 0 && strcmp(name, wanted) == 0, "'%s'", name);
  close(file);
}

int main(void) {
  const struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  SUBJECT_NEED(signal(SIGCHLD, note) != SIG_ERR);
  const pid_t exited = make(SIGCHLD);
  if (exited == 0) {
    prctl(PR_SET_NAME, "who exited");
    _exit(42);
  }
  const pid_t killed = make(SIGCHLD);
  if (killed == 0) {
    for (;;) pause();
  }
  const pid_t quiet = make(0);
  if (quiet == 0) _exit(7);
  kill(killed, SIGSEGV);
  for (const pid_t* pid = (const pid_t[]){exited, killed, quiet, 0}; *pid != 0; ++pid) {
    siginfo_t info;
    while (waitid(P_PID, (id_t)*pid, &info, WEXITED | WNOWAIT | __WALL) != 0) SUBJECT_NEED(errno == EINTR);
  }
  const int seen_before = seen;
  SUBJECT_NEED(seen_before >= 1);

  subject_ready();

  SUBJECT_CHECK(seen == seen_before, "%d signals instead of %d", (int)seen, seen_before);
  int status = 0;
  SUBJECT_CHECK(waitpid(quiet, &status, WNOHANG) == -1 && errno == ECHILD, "its exit signal is another one");
  SUBJECT_CHECK(waitpid(quiet, &status, __WCLONE) == quiet && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  check_name(exited, "who exited\n");
  SUBJECT_CHECK(waitpid(exited, &status, 0) == exited && WIFEXITED(status) && WEXITSTATUS(status) == 42, "%#x",
                (unsigned)status);
  SUBJECT_CHECK(waitpid(killed, &status, 0) == killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "%#x",
                (unsigned)status);
  SUBJECT_CHECK(waitpid(-1, &status, __WALL) == -1 && errno == ECHILD);
  subject_ok();
}
