// A child that has one list of semaphore adjustments with its parent (CLONE_SYSVSEM): what both did is undone when the
// last of them has ended.
// subject: refused has one list of semaphore adjustments (SEM_UNDO) with process
#include <sched.h>
#include <signal.h>
#include <sys/sem.h>
#include <sys/wait.h>

#include "subject.h"

int main(void) {
  const int set = semget(IPC_PRIVATE, 1, 0600);
  SUBJECT_NEED(set >= 0);
  subject_leaves('s', set);
  SUBJECT_NEED(semctl(set, 0, SETVAL, 10) == 0);
  struct sembuf add = {0, 5, SEM_UNDO};
  SUBJECT_NEED(semop(set, &add, 1) == 0);
  const pid_t child = (pid_t)syscall(SYS_clone, CLONE_SYSVSEM | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) {
    for (;;) pause();
  }
  SUBJECT_NEED(child > 0);
  subject_ready();
  SUBJECT_CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
  SUBJECT_CHECK(semctl(set, 0, GETVAL) == 15, "the child undid it");
  SUBJECT_CHECK(semctl(set, 0, IPC_RMID) == 0);
  subject_ok();
}
