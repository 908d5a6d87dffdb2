// Private mappings of a file: pages that were written belong to the program, the others are still the file's; beyond
// the end of the file there is nothing; offsets of terabytes.
#include "memory.h"

#define PAGES 16
#define FAR ((off_t)1 << 42)

static void check_lines(const void* place, unsigned long long offset, ino_t inode) {
  const struct memory_area area = memory_area_of(place);
  SUBJECT_CHECK(strstr(area.name, "/private-file") != NULL, "the area is of '%s'", area.name);
  SUBJECT_CHECK(area.offset == offset && area.inode == inode, "offset %llu, inode %lu", area.offset, area.inode);
}

int main(void) {
  const int file = memory_file("private-file", PAGES * PAGE, 1);
  SUBJECT_NEED(pwrite(file, "far", 3, FAR) == 3 && ftruncate(file, FAR + (off_t)PAGE + 100) == 0);
  struct stat status;
  SUBJECT_NEED(fstat(file, &status) == 0);
  char* const clean = memory_map(PAGES * PAGE, PROT_READ, MAP_PRIVATE, file, 0);
  char* const dirty = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  memory_fill(dirty + 3 * PAGE, 2 * PAGE, 2);
  memset(dirty + 8 * PAGE, 0, PAGE);  // zeros are not what the file has here
  char* const written_then_protected = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 4 * PAGE);
  memory_fill(written_then_protected, PAGE, 3);
  SUBJECT_NEED(mprotect(written_then_protected, PAGES * PAGE, PROT_NONE) == 0);
  char* const far = memory_map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, FAR);
  memory_fill(far + PAGE, PAGE, 4);  // the page that the file ends in
  SUBJECT_NEED(memory_read_signal(far + 2 * PAGE) == SIGBUS);
  SUBJECT_NEED(close(file) == 0);
  const ino_t inode = status.st_ino;

  subject_ready();

  MEMORY_CHECK(clean, PAGES * PAGE, 1);
  MEMORY_CHECK(dirty, 3 * PAGE, 1);
  MEMORY_CHECK(dirty + 3 * PAGE, 2 * PAGE, 2);
  SUBJECT_CHECK(memory_is_zero(dirty + 8 * PAGE, PAGE), "a page of zeros became the file's again");
  for (size_t page = 5; page < PAGES; ++page) {
    if (page != 8) SUBJECT_CHECK(memcmp(dirty + page * PAGE, clean + page * PAGE, PAGE) == 0, "page %zu", page);
  }
  SUBJECT_CHECK(memory_read_signal(written_then_protected) == SIGSEGV);
  SUBJECT_CHECK(mprotect(written_then_protected, PAGES * PAGE, PROT_READ) == 0);
  MEMORY_CHECK(written_then_protected, PAGE, 3);
  SUBJECT_CHECK(memcmp(written_then_protected + PAGE, clean + 5 * PAGE, 11 * PAGE) == 0);
  SUBJECT_CHECK(memcmp(far, "far", 4) == 0);
  MEMORY_CHECK(far + PAGE, PAGE, 4);
  SUBJECT_CHECK(memory_read_signal(far + 2 * PAGE) == SIGBUS, "beyond the end of the file there is something");
  check_lines(clean, 0, inode);
  check_lines(dirty, 0, inode);
  check_lines(far, FAR, inode);
  // What was not written is still the file's own, and what was written is not in the file.
  const int again = open("private-file", O_RDWR | O_CLOEXEC);
  char page[PAGE];
  SUBJECT_CHECK(pread(again, page, PAGE, 3 * PAGE) == (ssize_t)PAGE && memcmp(page, clean + 3 * PAGE, PAGE) == 0,
                "the file was written to");
  SUBJECT_CHECK(pwrite(again, "changed", 7, 6 * PAGE) == 7);
  SUBJECT_CHECK(memcmp(clean + 6 * PAGE, "changed", 7) == 0 && memcmp(dirty + 6 * PAGE, "changed", 7) == 0,
                "no mapping of the file any more");
  memory_fill(dirty, PAGES * PAGE, 5);
  MEMORY_CHECK(dirty, PAGES * PAGE, 5);
  subject_ok();
}
