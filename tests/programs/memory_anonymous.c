// Private anonymous memory: content, pages that were never touched or are zeros again, and reservations of terabytes
// that take up nothing.
// subject: also-static
#include "memory.h"

#define BYTES (256 * PAGE)
#define TERABYTE ((size_t)1 << 40)

// A reservation with three pages in use far apart. No place for it on the heap: its size is what matters.
static char* reserve(int protection, int flags) {
  return memory_map(4 * TERABYTE, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

int main(void) {
  char* const plain = memory_anonymous(BYTES);
  memory_fill(plain, BYTES, 1);
  memset(plain + 8 * PAGE, 0, PAGE);                                   // written, and zero
  SUBJECT_NEED(madvise(plain + 16 * PAGE, PAGE, MADV_DONTNEED) == 0);  // gone, and zero
  char* const untouched = memory_anonymous(BYTES);
  char* const read_only_zeros = memory_map(BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(memory_is_zero(read_only_zeros, BYTES));
  char* const nothing = reserve(PROT_NONE, 0);
  char* const sparse = reserve(PROT_READ | PROT_WRITE, MAP_NORESERVE);
  memory_fill(sparse + PAGE, PAGE, 2);
  memory_fill(sparse + 2 * TERABYTE, PAGE, 3);
  memory_fill(sparse + 4 * TERABYTE - PAGE, PAGE, 4);
  const int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
  SUBJECT_NEED(zero >= 0);
  char* const of_zero = memory_map(BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
  memory_fill(of_zero, BYTES / 2, 5);
  SUBJECT_NEED(close(zero) == 0);

  subject_ready();

  MEMORY_CHECK(plain, 8 * PAGE, 1);
  SUBJECT_CHECK(memory_is_zero(plain + 8 * PAGE, PAGE) && memory_is_zero(plain + 16 * PAGE, PAGE));
  for (size_t i = 17 * PAGE / 8; i < BYTES / 8; ++i)
    SUBJECT_CHECK(((uint64_t*)plain)[i] == memory_word(1, i), "word %zu", i);
  SUBJECT_CHECK(memory_is_zero(untouched, BYTES) && memory_is_zero(read_only_zeros, BYTES));
  MEMORY_CHECK(sparse + PAGE, PAGE, 2);
  MEMORY_CHECK(sparse + 2 * TERABYTE, PAGE, 3);
  MEMORY_CHECK(sparse + 4 * TERABYTE - PAGE, PAGE, 4);
  SUBJECT_CHECK(memory_is_zero(sparse, PAGE) && memory_is_zero(sparse + 3 * TERABYTE, PAGE));
  const struct memory_area area = memory_area_of(sparse);
  SUBJECT_CHECK(area.end - area.start >= 4 * TERABYTE && area.resident <= 20,
                "of the reservation %ld KiB are in memory", area.resident);
  SUBJECT_CHECK(memory_has_flag(sparse, "nr"), "MAP_NORESERVE was lost");
  SUBJECT_CHECK(memory_read_signal(nothing + TERABYTE) == SIGSEGV, "PROT_NONE can be read");
  SUBJECT_CHECK(mprotect(nothing + TERABYTE, PAGE, PROT_READ | PROT_WRITE) == 0 &&
                memory_is_zero(nothing + TERABYTE, PAGE));
  MEMORY_CHECK(of_zero, BYTES / 2, 5);
  SUBJECT_CHECK(memory_is_zero(of_zero + BYTES / 2, BYTES / 2));
  memory_fill(untouched, BYTES, 6);
  MEMORY_CHECK(untouched, BYTES, 6);
  subject_ok();
}
