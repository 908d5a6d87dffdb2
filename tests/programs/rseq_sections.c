// Threads that are inside of restartable sequences all the time (the kernel's rseq: include/uapi/linux/rseq.h): one
// that is interrupted, for a checkpoint too, is to begin anew instead of ending as if nothing had been, on another
// processor maybe.
// subject: needs rdpid
// subject: never-rests
// subject: keeps-running 0.05
#include <pthread.h>
#include <stdint.h>
#include <sys/rseq.h>

#include "subject.h"

enum { kThreads = 3 };  // more than there are processors, so that they are moved about
static _Atomic int stop;
static _Atomic long wrong, ended, aborted;

// A millisecond or so. Returns whether it was aborted; else the processors at its begin and at its end.
__attribute__((noinline)) static int run_section(volatile struct rseq* own, uint64_t* first, uint64_t* last) {
  uint64_t begin = 0, end = 0;
  int is_aborted = 0;
  __asm__ volatile(
      ".pushsection __rseq_cs, \"aw\"\n\t"
      ".balign 32\n"
      "3:\n\t"  // struct rseq_cs: version, flags, start_ip, post_commit_offset, abort_ip
      ".long 0, 0\n\t"
      ".quad 1f, 2f - 1f, 4f\n\t"
      ".popsection\n\t"
      "lea 3b(%%rip), %%rax\n\t"
      "mov %%rax, 8(%[own])\n"  // rseq_cs
      "1:\n\t"
      "rdpid %[begin]\n\t"
      "mov $1000000, %%rcx\n"
      "5:\n\t"
      "dec %%rcx\n\t"
      "jnz 5b\n\t"
      "rdpid %[end]\n"
      "2:\n\t"
      "jmp 6f\n\t"
      ".byte 0x0f, 0xb9, 0x3d\n\t"  // the signature that stands before an abort handler: RSEQ_SIG
      ".long 0x53053053\n"
      "4:\n\t"
      "mov $1, %[is_aborted]\n"
      "6:\n"
      : [begin] "=&r"(begin), [end] "=&r"(end), [is_aborted] "+&r"(is_aborted)
      : [own] "r"(own)
      : "rax", "rcx", "memory", "cc");
  *first = begin;
  *last = end;
  return is_aborted;
}

static void* run(void* unused) {
  volatile struct rseq* own = (volatile struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset);
  while (!stop) {
    uint64_t first, last;
    if (run_section(own, &first, &last)) {
      ++aborted;
      continue;
    }
    ++ended;
    if (first != last) ++wrong;
  }
  return unused;
}

int main(void) {
  if (__rseq_size == 0) subject_skip("the C library registered no rseq");
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) SUBJECT_NEED(pthread_create(&threads[i], NULL, run, NULL) == 0);
  subject_ready();
  for (long i = 0; i < 500 && (ended == 0 || aborted == 0); i++) subject_sleep_ms(10);
  stop = 1;
  for (int i = 0; i < kThreads; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  SUBJECT_CHECK(wrong == 0, "%ld of %ld sections began on one processor and ended on another", wrong, ended);
  SUBJECT_CHECK(ended > 0 && aborted > 0, "%ld ended, %ld aborted", ended, aborted);
  subject_ok();
}
