// Signal actions of every kind with flags, mask and restorer, the default one too; an alternate signal stack; ignored
// signals; SIGCHLD's flags.
// subject: also-static
#include <signal.h>
#include <sys/wait.h>

#include "second_thread.h"

struct kernel_action {
  unsigned long handler;
  unsigned long flags;
  unsigned long restorer;
  unsigned long mask;
};

static struct kernel_action before[65];
static char main_stack[65536];
static char thread_stack[65536];
// Both threads check themselves at the same time.
static _Thread_local volatile unsigned long where_handler_ran;
static _Thread_local volatile int with_value;

static void on_stack(int signal, siginfo_t* info, void* context) {
  char here;
  (void)signal;
  (void)context;
  where_handler_ran = (unsigned long)&here;
  with_value = info->si_value.sival_int;
}

static void unused(int signal) { (void)signal; }

static void read_actions(struct kernel_action* actions) {
  for (int signal = 1; signal <= 64; ++signal) {
    SUBJECT_NEED(syscall(SYS_rt_sigaction, signal, NULL, &actions[signal], 8) == 0);
  }
}

static void set(int signal, void (*handler)(int), int flags, int masked) {
  struct sigaction action = {.sa_flags = flags};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  if (masked != 0) sigaddset(&action.sa_mask, masked);
  SUBJECT_NEED(sigaction(signal, &action, NULL) == 0);
}

static void use_stack(char* stack, size_t size, int flags) {
  const stack_t alternate = {.ss_sp = stack, .ss_size = size, .ss_flags = flags};
  SUBJECT_NEED(sigaltstack(&alternate, NULL) == 0);
}

static void check_stack(char* stack, size_t size) {
  stack_t now;
  SUBJECT_CHECK(sigaltstack(NULL, &now) == 0);
  SUBJECT_CHECK(now.ss_sp == stack && now.ss_size == size, "the alternate stack is %p, %zu", now.ss_sp, now.ss_size);
  sigval_t value = {.sival_int = 4711};
  where_handler_ran = 0;
  with_value = 0;
  SUBJECT_CHECK(pthread_sigqueue(pthread_self(), SIGUSR1, value) == 0);
  const unsigned long start = (unsigned long)stack;
  SUBJECT_CHECK(where_handler_ran >= start && where_handler_ran < start + size, "the handler ran at %#lx",
                where_handler_ran);
  SUBJECT_CHECK(with_value == 4711);
}

static void* other_thread(void* barrier) {
  use_stack(thread_stack, sizeof thread_stack, (int)(1U << 31));  // SS_AUTODISARM
  second_thread_is_set_up(barrier);
  check_stack(thread_stack, sizeof thread_stack);
  return NULL;
}

int main(void) {
  struct sigaction action = {.sa_flags = SA_ONSTACK | SA_SIGINFO | SA_RESTART};
  action.sa_sigaction = on_stack;
  sigfillset(&action.sa_mask);
  SUBJECT_NEED(sigaction(SIGUSR1, &action, NULL) == 0);
  set(SIGUSR2, unused, SA_NODEFER, SIGTERM);
  set(SIGALRM, unused, (int)SA_RESETHAND, SIGRTMAX);
  set(SIGRTMIN + 7, unused, SA_RESTART, 0);
  set(SIGRTMAX, unused, SA_ONSTACK, SIGHUP);
  set(SIGPIPE, SIG_IGN, 0, 0);
  set(SIGQUIT, SIG_IGN, 0, 0);
  set(SIGCHLD, SIG_DFL, SA_NOCLDWAIT | SA_NOCLDSTOP, 0);
  set(SIGVTALRM, SIG_DFL, SA_NODEFER | SA_ONSTACK, SIGUSR2);
  set(SIGPROF, unused, (int)SA_RESETHAND, SIGTERM);  // which leaves the default action with these flags
  SUBJECT_NEED(raise(SIGPROF) == 0);
  set(SIGRTMIN + 9, SIG_DFL, 0, SIGRTMAX);
  use_stack(main_stack, sizeof main_stack, 0);
  const pthread_t thread = start_second_thread(other_thread);
  read_actions(before);
  SUBJECT_NEED(before[SIGPROF].handler == 0 && before[SIGPROF].flags != 0 && before[SIGPROF].mask != 0);

  subject_ready();

  static struct kernel_action after[65];
  read_actions(after);
  for (int signal = 1; signal <= 64; ++signal) {
    SUBJECT_CHECK(memcmp(&before[signal], &after[signal], sizeof before[signal]) == 0,
                  "signal %d: handler %#lx flags %#lx mask %#lx", signal, after[signal].handler, after[signal].flags,
                  after[signal].mask);
  }
  check_stack(main_stack, sizeof main_stack);
  pthread_join(thread, NULL);
  SUBJECT_CHECK(raise(SIGPIPE) == 0 && raise(SIGQUIT) == 0);
  const pid_t child = fork();
  if (child == 0) _exit(0);
  SUBJECT_CHECK(waitpid(child, NULL, 0) < 0 && errno == ECHILD, "the child became a zombie");
  subject_ok();
}
