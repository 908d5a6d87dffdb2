// A thread's own segments (set_thread_area(2)), which a 64-bit program reaches by the calls of 32-bit ones: each thread
// has others, and a register that names one.
#include <asm/ldt.h>
#include <stdint.h>
#include <sys/mman.h>

#include "faults.h"
#include "second_thread.h"

enum { kSetThreadArea = 243, kGetThreadArea = 244, kFirst = 12 };

// `int $0x80`: the arguments are of 32 bits.
static int call(int number, struct user_desc* low) {
  int result;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"((uint32_t)(uintptr_t)low)
                   : "memory", "r8", "r9", "r10", "r11");
  return result;
}

static struct user_desc* low_memory(void) {
  struct user_desc* const low =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  SUBJECT_NEED(low != MAP_FAILED);
  return low;
}

static void set(struct user_desc* low, unsigned entry, unsigned base) {
  *low = (struct user_desc){
      .entry_number = entry, .base_addr = base, .limit = 0xfffff, .seg_32bit = 1, .limit_in_pages = 1, .useable = 1};
  SUBJECT_NEED(call(kSetThreadArea, low) == 0);
}

static void expect(struct user_desc* low, unsigned entry, unsigned base, unsigned limit) {
  *low = (struct user_desc){.entry_number = entry};
  SUBJECT_CHECK(call(kGetThreadArea, low) == 0 && low->base_addr == base && low->limit == limit,
                "segment %u has base %#x and limit %#x", entry, low->base_addr, low->limit);
}

static void* other_thread(void* barrier) {
  struct user_desc* const low = low_memory();
  set(low, kFirst + 2, 0x5678000);
  second_thread_is_set_up(barrier);
  expect(low, kFirst, 0, 0);
  expect(low, kFirst + 2, 0x5678000, 0xfffff);
  return NULL;
}

static struct user_desc* first;

// Where the kernel has no calls of 32-bit code (ia32_emulation=0), the instruction faults.
static void call_something(void) { call(kGetThreadArea, first); }

int main(void) {
  struct user_desc* const low = first = low_memory();
  *low = (struct user_desc){.entry_number = kFirst};
  if (faults(call_something) || call(kGetThreadArea, low) != 0) subject_skip("this kernel has no 32-bit calls");
  const pthread_t thread = start_second_thread(other_thread);
  set(low, kFirst, (unsigned)(uintptr_t)low);
  set(low, kFirst + 1, 0x1234000);
  const unsigned selector = kFirst << 3 | 3;
  __asm__ volatile("mov %0, %%es" : : "r"(selector));

  subject_ready();

  unsigned now = 0;
  __asm__ volatile("mov %%es, %0" : "=r"(now));
  SUBJECT_CHECK(now == selector, "ES is %#x", now);
  expect(low, kFirst, (unsigned)(uintptr_t)low, 0xfffff);
  expect(low, kFirst + 1, 0x1234000, 0xfffff);
  expect(low, kFirst + 2, 0, 0);
  pthread_join(thread, NULL);
  subject_ok();
}
