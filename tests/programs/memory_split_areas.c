// Areas that mprotect(2) has divided and that become one again when they have the same protection: the kernel joins
// only what it once divided, and calls such as mremap(2) take one area alone.
// subject: ids new
#include "subject.h"
// Behind it: _GNU_SOURCE.
#include <sys/mman.h>

enum { kPage = 4096, kPages = 16, kProtected = 7, kCases = 3 };

static char* map_divided(int protection) {
  char* const memory = mmap(NULL, (size_t)kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(memory != MAP_FAILED);
  for (int page = 0; page < kPages; ++page) {
    if (page < kProtected - 1 || page > kProtected + 1) memory[page * kPage] = (char)(page + 1);
  }
  SUBJECT_NEED(mprotect(memory + kProtected * kPage, kPage, protection) == 0);
  return memory;
}

static void check_joined(char* memory) {
  SUBJECT_CHECK(mprotect(memory + kProtected * kPage, kPage, PROT_READ | PROT_WRITE) == 0);
  char* const moved = mremap(memory, (size_t)kPages * kPage, (size_t)4 * kPages * kPage, MREMAP_MAYMOVE);
  SUBJECT_CHECK(moved != MAP_FAILED, "the area does not grow as a whole");
  for (int page = 0; page < 4 * kPages; ++page) {
    const int written = page < kPages && (page < kProtected - 1 || page > kProtected + 1);
    SUBJECT_CHECK(moved[page * kPage] == (written ? page + 1 : 0), "page %d", page);
  }
}

int main(void) {
  static const int protections[kCases] = {PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC};
  char* memory[kCases];
  for (int i = 0; i < kCases; ++i) {
    memory[i] = map_divided(protections[i]);
    SUBJECT_NEED(mmap(NULL, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);  // keeps them apart
  }
  subject_ready();
  for (int i = 0; i < kCases; ++i) check_joined(memory[i]);
  subject_ok();
}
