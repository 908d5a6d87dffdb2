// Memory that is left out by wish reads as zero after a restart, and everything around it is as it was.
// subject: checkpoint-options --exclude 510000100000-510000200000 --exclude 510000300800-510000380001 --exclude 520000010000-520000018000
// subject: ids namespace new
#include <sys/mman.h>

#include "subject.h"

static unsigned char pattern(size_t i) { return (unsigned char)((i >> 12) * 7 + i * 13 + 1); }

static void fill(unsigned char* memory, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) memory[i] = pattern(i);
}

// `lost`: whether [start, end) is to read as zero.
static void check(const unsigned char* memory, size_t start, size_t end, int lost) {
  for (size_t i = start; i < end; i++)
    SUBJECT_CHECK(memory[i] == (lost ? 0 : pattern(i)), "byte %#zx of %p is %d", i, (const void*)memory, memory[i]);
}

int main(void) {
  const int restarted = atoi(getenv("SUBJECT_ROUNDS")) > 0;
  unsigned char* const own = (unsigned char*)0x510000000000;
  unsigned char* const shared = (unsigned char*)0x520000000000;
  const size_t bytes = 0x400000;
  SUBJECT_NEED(mmap(own, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
               own);
  SUBJECT_NEED(mmap(shared, 0x40000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
               shared);
  // A second view, in which nothing is left out: it is the same memory.
  unsigned char* const view = mremap(shared, 0, 0x40000, MREMAP_MAYMOVE);
  SUBJECT_NEED(view != MAP_FAILED);
  fill(own, bytes);
  fill(shared, 0x40000);
  subject_ready();
  check(own, 0, 0x100000, 0);
  check(own, 0x100000, 0x200000, restarted);
  check(own, 0x200000, 0x301000, 0);
  // Only what lies wholly inside.
  check(own, 0x301000, 0x380000, restarted);
  check(own, 0x380000, bytes, 0);
  check(shared, 0, 0x10000, 0);
  check(shared, 0x10000, 0x18000, restarted);
  check(shared, 0x18000, 0x40000, 0);
  SUBJECT_CHECK(memcmp(shared, view, 0x40000) == 0);
  fill(own, bytes);
  fill(view, 0x40000);
  check(own, 0, bytes, 0);
  check(shared, 0, 0x40000, 0);
  subject_ok();
}
