// A tree that is deep and wide, every parent of it in a wait for its children; threads of one process wait for
// different children. A signal that one member sent to another while that one blocks it is there once, after each
// checkpoint.
// subject: link pthread
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "subject.h"

enum { kDepth = 12, kWidth = 3 };

static int gate[2];

// The end of the last of the line is the beginning of all others' end.
static int deep(int depth) {
  if (depth == 0) {
    char byte;
    return read(gate[0], &byte, 1) == 0 ? 1 : 100;
  }
  const pid_t pid = fork();
  if (pid == 0) _exit(deep(depth - 1));
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return 101;
  return WEXITSTATUS(status) + 1;
}

static void* wait_for(void* argument) {
  int status = 0;
  const pid_t pid = (pid_t)(long)argument;
  if (waitpid(pid, &status, 0) != pid) return (void*)-1L;
  return (void*)(long)status;
}

int main(void) {
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  sigaddset(&usr1, SIGRTMIN);
  sigprocmask(SIG_BLOCK, &usr1, NULL);
  SUBJECT_NEED(pipe(gate) == 0);
  pthread_t threads[kWidth];
  for (int i = 0; i < kWidth; ++i) {
    const pid_t pid = fork();
    SUBJECT_NEED(pid >= 0);
    if (pid == 0) {
      close(gate[1]);
      _exit(deep(kDepth + i));
    }
    SUBJECT_NEED(pthread_create(&threads[i], NULL, wait_for, (void*)(long)pid) == 0);
  }
  const pid_t parent = getpid();
  const pid_t sender = fork();
  if (sender == 0) {
    const union sigval value = {.sival_int = 77};
    kill(parent, SIGUSR1);
    sigqueue(parent, SIGRTMIN, value);
    sigqueue(parent, SIGRTMIN, value);
    for (;;) pause();
  }
  siginfo_t info;
  for (sigset_t pending; sigpending(&pending) == 0 && sigismember(&pending, SIGRTMIN) != 1;) subject_sleep_ms(1);
  subject_sleep_ms(20);
  subject_wait_until_others_blocked();

  subject_ready();

  const struct timespec none = {0, 0};
  SUBJECT_CHECK(sigtimedwait(&usr1, &info, &none) == SIGUSR1 && info.si_pid == sender, "not from %d", (int)sender);
  for (int i = 0; i < 2; ++i) {
    SUBJECT_CHECK(sigtimedwait(&usr1, &info, &none) == SIGRTMIN && info.si_value.sival_int == 77, "signal %d is lost",
                  i);
  }
  SUBJECT_CHECK(sigtimedwait(&usr1, &info, &none) == -1 && errno == EAGAIN, "one too many");
  kill(sender, SIGTERM);
  SUBJECT_CHECK(waitpid(sender, NULL, 0) == sender);
  close(gate[1]);
  for (int i = 0; i < kWidth; ++i) {
    void* status = NULL;
    SUBJECT_CHECK(pthread_join(threads[i], &status) == 0);
    const int raw = (int)(long)status;
    SUBJECT_CHECK(WIFEXITED(raw) && WEXITSTATUS(raw) == kDepth + i + 1, "line %d ended with %#x", i, (unsigned)raw);
  }
  subject_ok();
}
