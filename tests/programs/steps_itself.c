// A program that single-steps itself: with the processor's trap flag set, every instruction raises SIGTRAP, which the
// program handles. CRS must not step along when it makes system calls in the program's place.
// subject: ids new
#include <signal.h>
#include <ucontext.h>

#include "subject.h"

enum { kTrapFlag = 0x100 };

static volatile long steps;
static volatile long wrong_code;
static volatile int ends;

static void on_trap(int number, siginfo_t* info, void* context) {
  (void)number;
  ++steps;
  if (info->si_code != TRAP_TRACE && info->si_code != TRAP_BRKPT) wrong_code = info->si_code;
  if (ends) ((ucontext_t*)context)->uc_mcontext.gregs[REG_EFL] &= ~(long)kTrapFlag;
}

static long work(void) {
  volatile long sum = 0;
  for (int i = 0; i < 1000; ++i) sum += i;
  return sum;
}

static int go_signal_is_there(const char* path) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "0"((long)SYS_access), "D"(path), "S"(0L) : "rcx", "r11", "memory");
  return result == 0;
}

int main(void) {
  const struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
  SUBJECT_NEED(sigaction(SIGTRAP, &action, NULL) == 0);
  const char* const go = subject_environment("SUBJECT_GO");
  subject_announce();
  __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
  long sum = 0;
  long times = 0;
  do {
    sum += work();
    ++times;
  } while (!go_signal_is_there(go));
  const long before = steps;
  const long last = work();
  const long stepped = steps - before;
  ends = 1;
  __asm__ volatile("nop; nop" ::: "memory");
  SUBJECT_CHECK(stepped > 1000, "the program does not step itself any more: %ld steps", stepped);
  SUBJECT_CHECK(sum == times * last && last == 499500, "%ld in %ld times", sum, times);
  SUBJECT_CHECK(wrong_code == 0, "a trap came with code %ld", wrong_code);
  subject_ok();
}
