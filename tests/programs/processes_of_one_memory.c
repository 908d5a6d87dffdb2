// Processes that have one memory (clone(2) with CLONE_VM, without CLONE_THREAD): what one writes or maps, all have. One
// child has its own descriptors, directory and signal actions, one shares all of that and has a second thread; a
// grandchild, and a process with memory of its own, by the first child. They have one C library between them, which
// knows nothing of that: they make system calls alone.
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "subject.h"

enum { kChild, kTwin, kThread, kGrandchild, kForked, kMembers };
enum task { kNothing, kAdd, kOpen, kHas, kIgnore, kIgnores, kMap, kPid, kChange, kBeIn, kEnd };
enum { kStack = 65536, kUntouched = 77 };

struct order {
  int task;
  long argument;
  long result;
};

// Of a signal action, as the kernel has it.
struct action {
  unsigned long handler, flags, restorer, mask;
};

static struct order* orders;  // in memory that the forked one has as well
static long counter;
static void* mapped;
static char stacks[kMembers][kStack];
static pid_t forked;
static volatile int hits;

static long ask(int number, long first, long second, long third, long fourth) {
  long result = number;
  register long in_r10 __asm__("r10") = fourth;
  __asm__ volatile("syscall"
                   : "+a"(result)
                   : "D"(first), "S"(second), "d"(third), "r"(in_r10)
                   : "rcx", "r11", "memory");
  return result;
}

static long carry_out(enum task task, long argument) {
  struct action action = {.handler = (unsigned long)SIG_IGN};
  char here[64];
  switch (task) {
    case kAdd:
      counter += argument;
      return counter;
    case kOpen:
      return ask(SYS_dup2, 1, argument, 0, 0);
    case kHas:
      return ask(SYS_fcntl, argument, F_GETFD, 0, 0) >= 0;
    case kIgnore:
      return ask(SYS_rt_sigaction, argument, (long)&action, 0, 8);
    case kIgnores:
      ask(SYS_rt_sigaction, argument, 0, (long)&action, 8);
      return action.handler == (unsigned long)SIG_IGN;
    case kMap:
      mapped = (void*)ask(SYS_mremap, (long)mapped, argument, 2 * argument, MREMAP_MAYMOVE);
      ((char*)mapped)[argument] = 1;
      return 1;
    case kPid:
      return ask(SYS_getpid, 0, 0, 0, 0);
    case kChange:
      return ask(SYS_chdir, (long)"/dev", 0, 0, 0);
    case kBeIn:
      ask(SYS_getcwd, (long)here, sizeof here, 0, 0);
      return memcmp(here, "/dev", 5) == 0;
    default:
      return 0;
  }
}

static int serve(void* of_member) {
  struct order* const order = of_member;
  const struct timespec moment = {.tv_nsec = 1000000};
  for (;;) {
    const int task = __atomic_load_n(&order->task, __ATOMIC_ACQUIRE);
    if (task == kEnd) return (int)order->argument;
    if (task != kNothing) {
      order->result = carry_out((enum task)task, order->argument);
      __atomic_store_n(&order->task, kNothing, __ATOMIC_RELEASE);
    }
    ask(SYS_nanosleep, (long)&moment, 0, 0, 0);
  }
}

static long tell(int member, enum task task, long argument) {
  orders[member].argument = argument;
  __atomic_store_n(&orders[member].task, task, __ATOMIC_RELEASE);
  while (__atomic_load_n(&orders[member].task, __ATOMIC_ACQUIRE) != kNothing) subject_sleep_ms(1);
  return orders[member].result;
}

static void tell_to_end(int member, int status) {
  orders[member].argument = status;
  __atomic_store_n(&orders[member].task, kEnd, __ATOMIC_RELEASE);
}

static pid_t make(int member, int flags, int (*life)(void*)) {
  return clone(life, stacks[member] + kStack, CLONE_VM | flags, &orders[member]);
}

static int live_as_child(void* order) {
  SUBJECT_NEED(make(kGrandchild, SIGCHLD, serve) > 0);
  forked = (pid_t)ask(SYS_clone, SIGCHLD, 0, 0, 0);
  if (forked == 0) {
    counter = kUntouched;
    ask(SYS_exit, serve(&orders[kForked]), 0, 0, 0);
  }
  return serve(order);
}

static int live_as_twin(void* order) {
  SUBJECT_NEED(make(kThread, CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD, serve) > 0);
  return serve(order);
}

static void count_hit(int signal) {
  (void)signal;
  ++hits;
}

static void check_all(pid_t child, pid_t twin, pid_t grandchild, long expected) {
  SUBJECT_CHECK(tell(kChild, kPid, 0) == child && tell(kTwin, kPid, 0) == twin && tell(kThread, kPid, 0) == twin);
  SUBJECT_CHECK(tell(kGrandchild, kPid, 0) == grandchild && tell(kForked, kPid, 0) == forked);
  SUBJECT_CHECK(counter == expected, "%ld instead of %ld", counter, expected);
  for (int member = kChild; member <= kGrandchild; ++member)
    SUBJECT_CHECK(tell(member, kAdd, 1) == expected + 1 + member && counter == expected + 1 + member);
  SUBJECT_CHECK(tell(kForked, kAdd, 0) == kUntouched && counter == expected + 4, "the forked one's memory is its own");
  // Descriptors.
  SUBJECT_CHECK(tell(kChild, kHas, 100) && !tell(kTwin, kHas, 100) && fcntl(100, F_GETFD) < 0);
  SUBJECT_CHECK(!tell(kGrandchild, kHas, 100) && tell(kThread, kHas, 101) && fcntl(101, F_GETFD) == 0);
  SUBJECT_CHECK(!tell(kChild, kHas, 101) && !tell(kForked, kHas, 101));
  // Signal actions.
  SUBJECT_CHECK(tell(kChild, kIgnores, SIGUSR2) && !tell(kTwin, kIgnores, SIGUSR2) &&
                !tell(kForked, kIgnores, SIGUSR2));
  SUBJECT_CHECK(tell(kTwin, kIgnores, SIGHUP) && !tell(kChild, kIgnores, SIGHUP) && tell(kThread, kIgnores, SIGHUP));
  struct sigaction action;
  SUBJECT_CHECK(sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
  // Working directories.
  SUBJECT_CHECK(tell(kChild, kBeIn, 0) && !tell(kTwin, kBeIn, 0) && !tell(kGrandchild, kBeIn, 0));
}

int main(void) {
  orders = mmap(NULL, sizeof *orders * kMembers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(orders != MAP_FAILED && mapped != MAP_FAILED);
  const pid_t child = make(kChild, SIGCHLD, live_as_child);
  const pid_t twin = make(kTwin, CLONE_FS | CLONE_FILES | CLONE_SIGHAND | SIGCHLD, live_as_twin);
  SUBJECT_NEED(child > 0 && twin > 0);
  const pid_t grandchild = (pid_t)tell(kGrandchild, kPid, 0);
  tell(kForked, kPid, 0);
  SUBJECT_NEED(tell(kChild, kOpen, 100) == 100 && tell(kTwin, kOpen, 101) == 101);
  SUBJECT_NEED(tell(kChild, kIgnore, SIGUSR2) == 0 && tell(kThread, kIgnore, SIGHUP) == 0);
  SUBJECT_NEED(tell(kChild, kChange, 0) == 0 && signal(SIGUSR1, count_hit) != SIG_ERR);
  check_all(child, twin, grandchild, 0);

  subject_ready();

  check_all(child, twin, grandchild, 4);
  // Still one memory: also what is mapped from now on, and what is unmapped.
  SUBJECT_CHECK(tell(kGrandchild, kMap, 4096) == 1 && ((char*)mapped)[4096] == 1);
  SUBJECT_CHECK(munmap(mapped, 4096) == 0 && ask(SYS_madvise, (long)mapped, 4096, MADV_NORMAL, 0) == -ENOMEM);
  // And one table of actions.
  SUBJECT_CHECK(signal(SIGHUP, SIG_DFL) == SIG_IGN && !tell(kTwin, kIgnores, SIGHUP) &&
                tell(kChild, kOpen, 102) == 102);
  SUBJECT_CHECK(fcntl(102, F_GETFD) < 0 && tell(kThread, kOpen, 103) == 103 && fcntl(103, F_GETFD) == 0);
  SUBJECT_CHECK(raise(SIGUSR1) == 0 && hits == 1);
  tell_to_end(kThread, kUntouched);
  tell_to_end(kTwin, kUntouched);
  int status = 0;
  SUBJECT_CHECK(waitpid(twin, &status, 0) == twin && WEXITSTATUS(status) == kUntouched, "%#x", status);
  tell_to_end(kGrandchild, 0);
  tell_to_end(kForked, 0);
  tell_to_end(kChild, kUntouched);
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == kUntouched, "%#x", status);
  subject_ok();
}
