// The heap goes on from where it was: sbrk, and malloc with blocks from before and after.
// subject: also-static
#include "memory.h"

#define BLOCKS 200

static size_t size_of(size_t block) { return 24 + block * 131 / 8 * 8; }

int main(void) {
  char* blocks[2 * BLOCKS];
  for (size_t i = 0; i < BLOCKS; ++i) {
    blocks[i] = (char*)malloc(size_of(i));
    SUBJECT_NEED(blocks[i] != NULL);
    memory_fill(blocks[i], size_of(i), i);
  }
  for (size_t i = 0; i < BLOCKS; i += 3) free(blocks[i]), blocks[i] = NULL;
  char* const large = (char*)malloc((size_t)4 << 20);  // a mapping of its own
  memory_fill(large, (size_t)4 << 20, 1000);
  // Ends within a page.
  char* const own = (char*)sbrk(10 * PAGE + 123);
  SUBJECT_NEED(own != (char*)-1);
  char* const end = (char*)sbrk(0);
  SUBJECT_NEED(end == own + 10 * PAGE + 123);
  memory_fill(own + (-(uintptr_t)own & 7), 10 * PAGE, 2000);
  const struct memory_area before = memory_area_of(own);
  SUBJECT_NEED(strcmp(before.name, "[heap]") == 0);
  // The C library's own calls of sbrk must not come between.
  char* const here = end;

  subject_ready();

  SUBJECT_CHECK(sbrk(0) == here, "the heap ends at %p instead of %p", sbrk(0), (void*)here);
  char* const more = (char*)sbrk(50 * PAGE);
  SUBJECT_CHECK(more == here, "sbrk gave %p", (void*)more);
  memory_fill(more + (-(uintptr_t)more & 7), 49 * PAGE, 3000);
  const struct memory_area after = memory_area_of(more);
  SUBJECT_CHECK(strcmp(after.name, "[heap]") == 0 && after.start == before.start, "heap from %lx instead of %lx ('%s')",
                after.start, before.start, after.name);
  MEMORY_CHECK(own + (-(uintptr_t)own & 7), 10 * PAGE, 2000);
  MEMORY_CHECK(more + (-(uintptr_t)more & 7), 49 * PAGE, 3000);
  SUBJECT_CHECK(sbrk(-(intptr_t)(50 * PAGE)) == here + 50 * PAGE && sbrk(0) == here);
  for (size_t i = BLOCKS; i < 2 * BLOCKS; ++i) {
    blocks[i] = (char*)malloc(size_of(i));
    SUBJECT_CHECK(blocks[i] != NULL);
    memory_fill(blocks[i], size_of(i), i);
  }
  for (size_t i = 0; i < 2 * BLOCKS; ++i) {
    if (blocks[i] == NULL) continue;
    SUBJECT_CHECK(memory_differs(blocks[i], size_of(i), i) < 0, "block %zu", i);
    free(blocks[i]);
  }
  MEMORY_CHECK(large, (size_t)4 << 20, 1000);
  free(large);
  subject_ok();
}
