// Checkpointed inside a signal handler on an alternate stack: the interrupted code, its registers and its signal mask
// come back when the handler returns.
// subject: also-static
#include <pthread.h>
#include <signal.h>
#include <stdint.h>

#include "subject.h"

static char alternate[65536] __attribute__((aligned(16)));
static volatile int inside, done;

static void on_signal(int number, siginfo_t* info, void* context) {
  (void)context;
  char here;
  SUBJECT_CHECK(&here >= alternate && &here < alternate + sizeof alternate, "not on the alternate stack");
  SUBJECT_CHECK(number == SIGUSR1 && info->si_value.sival_int == 42);
  inside = 1;
  subject_ready();
  SUBJECT_CHECK(&here >= alternate && &here < alternate + sizeof alternate);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  SUBJECT_CHECK(sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGHUP));
  stack_t stack;
  SUBJECT_CHECK(sigaltstack(NULL, &stack) == 0 && stack.ss_sp == alternate && stack.ss_flags == SS_ONSTACK);
  done = 1;
}

int main(void) {
  const stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaddset(&action.sa_mask, SIGUSR2);
  SUBJECT_NEED(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
  volatile double sum = 0;
  for (int i = 0; i < 1000; i++) {
    if (i == 500) sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 42});
    sum += 1.0 / (1 << (i % 20));
  }
  SUBJECT_CHECK(inside && done);
  double expected = 0;
  for (int i = 0; i < 1000; i++) expected += 1.0 / (1 << (i % 20));
  SUBJECT_CHECK(sum == expected);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  SUBJECT_CHECK(!sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGUSR2));
  stack_t stack_now;
  SUBJECT_CHECK(sigaltstack(NULL, &stack_now) == 0 && stack_now.ss_sp == alternate && stack_now.ss_flags == 0);
  subject_ok();
}
