// Shared anonymous memory: all mappings of it in the process stay mappings of the same pages; those that no page table
// shows (a child wrote them) are kept, too, and those that only mremap(2) would show again.
#include <sys/wait.h>

#include "memory.h"

#define PAGES 32

static char* duplicate(char* from, size_t bytes) {
  char* const place = (char*)mremap(from, 0, bytes, MREMAP_MAYMOVE);
  SUBJECT_NEED(place != MAP_FAILED);
  return place;
}

// Fills a page in a child, which ends: this process has never touched it.
static void fill_in_child(char* place, uint64_t seed) {
  const pid_t child = fork();
  if (child == 0) {
    memory_fill(place, PAGE, seed);
    _exit(0);
  }
  int status = 0;
  SUBJECT_NEED(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

// Shared memory of `seed`'s content, of which only pages 4 to 8 and 12 to 16 are mapped.
static char* map_with_gaps(uint64_t seed) {
  char* const place = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  memory_fill(place, PAGES * PAGE, seed);
  SUBJECT_NEED(munmap(place, 4 * PAGE) == 0 && munmap(place + 8 * PAGE, 4 * PAGE) == 0 &&
               munmap(place + 16 * PAGE, (PAGES - 16) * PAGE) == 0);
  return place + 4 * PAGE;
}

// Shrunk to a page; the second page never held anything.
static char* map_shrunk(uint64_t seed) {
  char* const place = memory_map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  memory_fill(place, PAGE, seed);
  SUBJECT_NEED(mremap(place, 2 * PAGE, PAGE, 0) == place);
  return place;
}

int main(void) {
  char* const first = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  memory_fill(first, 4 * PAGE, 1);
  memset(first + 6 * PAGE, 0, PAGE);
  fill_in_child(first + 10 * PAGE, 2);
  char* const second = duplicate(first, PAGES * PAGE);
  char* const middle = duplicate(first + 8 * PAGE, 8 * PAGE);
  memory_fill(middle + 4 * PAGE, PAGE, 3);
  char* const read_only = duplicate(first, 4 * PAGE);
  SUBJECT_NEED(mprotect(read_only, 4 * PAGE, PROT_READ) == 0);
  char* const hidden = duplicate(first + 20 * PAGE, 4 * PAGE);
  memory_fill(hidden, PAGE, 4);
  SUBJECT_NEED(mprotect(hidden, 4 * PAGE, PROT_NONE) == 0);
  // Another object, of which only a part in the middle is still mapped, and that no mapping but a PROT_NONE one shows.
  char* const whole = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  memory_fill(whole, PAGES * PAGE, 5);
  SUBJECT_NEED(munmap(whole, 8 * PAGE) == 0 && munmap(whole + 12 * PAGE, (PAGES - 12) * PAGE) == 0);
  SUBJECT_NEED(mprotect(whole + 8 * PAGE, 4 * PAGE, PROT_NONE) == 0);
  const int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
  char* const of_zero = memory_map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0);
  SUBJECT_NEED(close(zero) == 0);
  memory_fill(of_zero, PAGE, 6);
  // A gigabyte of which two pages are in use.
  const size_t sparse_bytes = (size_t)1 << 30;
  char* const sparse =
      memory_map(sparse_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  memory_fill(sparse + 5 * PAGE, PAGE, 7);
  fill_in_child(sparse + sparse_bytes - PAGE, 8);

  char* const gaps = map_with_gaps(11);
  char* const shrunk = map_shrunk(12);
  const long areas = memory_area_count();

  subject_ready();

  SUBJECT_CHECK(memory_area_count() == areas, "%ld areas instead of %ld", memory_area_count(), areas);
  char* const seen = duplicate(gaps, (PAGES - 4) * PAGE);
  for (size_t i = 0; i < (PAGES - 4) * PAGE / 8; ++i)
    SUBJECT_CHECK(((uint64_t*)seen)[i] == memory_word(11, i + 4 * PAGE / 8), "word %zu of what was unmapped", i);
  gaps[0] = 'x';
  SUBJECT_CHECK(seen[0] == 'x');
  char* const grown = (char*)mremap(shrunk, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
  SUBJECT_CHECK(grown != MAP_FAILED);
  MEMORY_CHECK(grown, PAGE, 12);
  SUBJECT_CHECK(memory_is_zero(grown + PAGE, PAGE));
  char* const beyond = duplicate(grown, 3 * PAGE);
  SUBJECT_CHECK(memory_read_signal(beyond + 2 * PAGE) == SIGBUS, "the memory has become larger");

  MEMORY_CHECK(first, 4 * PAGE, 1);
  SUBJECT_CHECK(memory_is_zero(first + 4 * PAGE, 6 * PAGE));
  MEMORY_CHECK(first + 10 * PAGE, PAGE, 2);
  MEMORY_CHECK(second + 12 * PAGE, PAGE, 3);
  MEMORY_CHECK(read_only, 4 * PAGE, 1);
  SUBJECT_CHECK(memcmp(first, second, PAGES * PAGE) == 0 && memcmp(middle, first + 8 * PAGE, 8 * PAGE) == 0);
  memory_fill(second + 9 * PAGE, PAGE, 9);
  MEMORY_CHECK(first + 9 * PAGE, PAGE, 9);
  MEMORY_CHECK(middle + PAGE, PAGE, 9);
  first[0] = 'x';
  SUBJECT_CHECK(read_only[0] == 'x' && second[0] == 'x', "the mappings are not of the same pages");
  SUBJECT_CHECK(memory_read_signal(hidden) == SIGSEGV && memory_write_signal(read_only) == SIGSEGV);
  MEMORY_CHECK(first + 20 * PAGE, PAGE, 4);
  SUBJECT_CHECK(mprotect(hidden, 4 * PAGE, PROT_READ | PROT_WRITE) == 0);
  hidden[PAGE] = 'y';
  SUBJECT_CHECK(first[21 * PAGE] == 'y');
  SUBJECT_CHECK(mprotect(whole + 8 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE) == 0);
  for (size_t i = 8 * PAGE / 8; i < 12 * PAGE / 8; ++i)
    SUBJECT_CHECK(((uint64_t*)whole)[i] == memory_word(5, i), "word %zu", i);
  MEMORY_CHECK(of_zero, PAGE, 6);
  MEMORY_CHECK(sparse + 5 * PAGE, PAGE, 7);
  MEMORY_CHECK(sparse + sparse_bytes - PAGE, PAGE, 8);
  SUBJECT_CHECK(memory_area_of(sparse).resident <= 40, "%ld KiB of a gigabyte with two pages",
                memory_area_of(sparse).resident);
  // A child still shares it.
  fill_in_child(first + 30 * PAGE, 10);
  MEMORY_CHECK(second + 30 * PAGE, PAGE, 10);
  subject_ok();
}
