// A thread of a 64-bit program that waits in a system call which it made as 32-bit code does (int $0x80).
// subject: refused is in a system call of 32-bit code
#include <pthread.h>
#include <sys/mman.h>

#include "faults.h"

enum { kRead = 3, kGetpid = 20 };  // numbers of 32-bit code
static int ends[2];
static char* low;  // such calls have pointers of 32 bits

static int call_32(long number, long first, long second, long third) {
  long result = number;
  __asm__ volatile("int $0x80"
                   : "+a"(result)
                   : "b"(first), "c"(second), "d"(third)
                   : "r8", "r9", "r10", "r11", "memory");
  return (int)result;
}

static void* run(void* unused) {
  SUBJECT_CHECK(call_32(kRead, ends[0], (long)low, 1) == 1 && *low == 'x', "the call was lost");
  return unused;
}

// Where the kernel has none (ia32_emulation=0), the instruction faults.
static void call_something(void) { call_32(kGetpid, 0, 0, 0); }

int main(void) {
  low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  SUBJECT_NEED(low != MAP_FAILED && pipe(ends) == 0);
  if (faults(call_something) || call_32(kGetpid, 0, 0, 0) != getpid())
    subject_skip("this kernel has no system calls of 32-bit code");
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, run, NULL) == 0);
  subject_wait_until_others_blocked();
  subject_ready();
  SUBJECT_NEED(write(ends[1], "x", 1) == 1);
  SUBJECT_CHECK(pthread_join(thread, NULL) == 0);
  subject_ok();
}
