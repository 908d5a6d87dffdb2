// Shared mappings of a file: what is written before and after the restart reaches the file and every other mapping of
// it.
#include "memory.h"

#define PAGES 16

static int file_differs(int file, const char* wanted, size_t bytes, off_t offset) {
  static char buffer[PAGES * PAGE];
  return pread(file, buffer, bytes, offset) != (ssize_t)bytes || memcmp(buffer, wanted, bytes) != 0;
}

int main(void) {
  const int file = memory_file("shared-file", PAGES * PAGE, 1);
  char* const whole = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  memory_fill(whole + 2 * PAGE, PAGE, 2);
  char* const part = memory_map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE, file, 2 * PAGE);
  char* const hidden = memory_map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 8 * PAGE);
  memory_fill(hidden, PAGE, 3);
  SUBJECT_NEED(mprotect(hidden, 2 * PAGE, PROT_NONE) == 0);
  char* const private_view = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  memory_fill(private_view + 12 * PAGE, PAGE, 4);
  const int read_only_file = open("shared-file", O_RDONLY | O_CLOEXEC);
  char* const read_only = memory_map((PAGES + 2) * PAGE, PROT_READ, MAP_SHARED, read_only_file, 0);
  SUBJECT_NEED(close(read_only_file) == 0 && close(file) == 0);

  subject_ready();

  const int again = open("shared-file", O_RDWR | O_CLOEXEC);
  MEMORY_CHECK(whole + 2 * PAGE, PAGE, 2);
  SUBJECT_CHECK(!file_differs(again, whole, PAGES * PAGE, 0), "the file lacks what was written to the mapping");
  SUBJECT_CHECK(memcmp(part, whole + 2 * PAGE, 4 * PAGE) == 0 && memcmp(read_only, whole, PAGES * PAGE) == 0);
  memory_fill(part + PAGE, PAGE, 5);
  MEMORY_CHECK(whole + 3 * PAGE, PAGE, 5);
  MEMORY_CHECK(read_only + 3 * PAGE, PAGE, 5);
  MEMORY_CHECK(private_view + 3 * PAGE, PAGE, 5);
  SUBJECT_CHECK(!file_differs(again, part + PAGE, PAGE, 3 * PAGE), "the file lacks what is written after the restart");
  SUBJECT_CHECK(pwrite(again, "from outside", 12, 0) == 12 && memcmp(whole, "from outside", 12) == 0);
  MEMORY_CHECK(private_view + 12 * PAGE, PAGE, 4);
  SUBJECT_CHECK(file_differs(again, private_view + 12 * PAGE, PAGE, 12 * PAGE), "a private page reached the file");
  SUBJECT_CHECK(memory_read_signal(hidden) == SIGSEGV && mprotect(hidden, 2 * PAGE, PROT_READ | PROT_WRITE) == 0);
  MEMORY_CHECK(hidden, PAGE, 3);
  hidden[0] = 'h';
  SUBJECT_CHECK(whole[8 * PAGE] == 'h');
  SUBJECT_CHECK(mprotect(read_only, PAGE, PROT_READ | PROT_WRITE) != 0 && errno == EACCES,
                "a file open for reading became writable");
  SUBJECT_CHECK(memory_read_signal(read_only + PAGES * PAGE) == SIGBUS);
  // The mapping follows the file as it grows.
  SUBJECT_CHECK(ftruncate(again, (PAGES + 1) * PAGE) == 0 && memory_read_signal(read_only + PAGES * PAGE) == 0);
  SUBJECT_CHECK(msync(whole, PAGES * PAGE, MS_SYNC) == 0);
  subject_ok();
}
