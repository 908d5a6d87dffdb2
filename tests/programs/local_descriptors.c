// The process's own segments (modify_ldt(2)): content, gaps, and a register that names one.
// subject: ids new
#include <asm/ldt.h>
#include <stdint.h>
#include <sys/mman.h>

#include "faults.h"

enum { kRead = 0, kWriteOld = 1, kWrite = 0x11, kLast = LDT_ENTRIES - 1 };

static unsigned char before[LDT_ENTRIES * LDT_ENTRY_SIZE], after[LDT_ENTRIES * LDT_ENTRY_SIZE];

static int modify(int function, void* place, unsigned long bytes) {
  return (int)syscall(SYS_modify_ldt, function, place, bytes);
}

static void make(int function, struct user_desc segment) {
  SUBJECT_NEED(modify(function, &segment, sizeof segment) == 0);
}

static const unsigned kSelector = 3 << 3 | 7;

static void load(void) { __asm__ volatile("mov %0, %%es" : : "r"(kSelector)); }

int main(void) {
  if (modify(kRead, before, sizeof before) < 0) subject_skip("this kernel has no modify_ldt");
  uint32_t* const low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  SUBJECT_NEED(low != MAP_FAILED);
  low[5] = 0x12345678;
  make(kWrite,
       (struct user_desc){
           .entry_number = 3, .base_addr = (uint32_t)(uintptr_t)low, .limit = 0xfff, .seg_32bit = 1, .useable = 1});
  make(kWriteOld, (struct user_desc){.entry_number = 5,
                                     .base_addr = 0xfedcba98,
                                     .limit = 0xabcde,
                                     .seg_32bit = 1,
                                     .limit_in_pages = 1,
                                     .read_exec_only = 1});
  make(kWrite,
       (struct user_desc){
           .entry_number = 6, .base_addr = 0x1000, .limit = 0x10, .contents = 3, .seg_32bit = 1, .seg_not_present = 1});
  make(kWrite, (struct user_desc){.entry_number = kLast, .limit = 7, .contents = 1, .seg_32bit = 1});
  SUBJECT_NEED(modify(kRead, before, sizeof before) == (int)sizeof before);
  // Some virtual machines take the table and fault when a segment of it is used.
  if (faults(load)) subject_skip("this machine loads no segment of a process's own");

  subject_ready();

  unsigned now = 0;
  __asm__ volatile("mov %%es, %0" : "=r"(now));
  SUBJECT_CHECK(now == kSelector, "ES is %#x", now);
  SUBJECT_CHECK(modify(kRead, after, sizeof after) == (int)sizeof after);
  SUBJECT_CHECK(memcmp(after, before, sizeof before) == 0, "another table");
  // ES has no base in 64-bit code, GS has.
  uint32_t value = 0;
  __asm__ volatile("mov %%gs, %%ecx\n\tmov %1, %%gs\n\tmovl %%gs:20, %0\n\tmov %%ecx, %%gs"
                   : "=&r"(value)
                   : "r"(kSelector)
                   : "ecx", "memory");
  SUBJECT_CHECK(value == 0x12345678, "%#x stands in the segment", value);
  subject_ok();
}
