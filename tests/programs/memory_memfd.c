// Memory of memfds: shared and private mappings, with seals that came before and after the mapping.
#include "memory.h"

#define PAGES 8

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static int memfd(const char* name, uint64_t seed) {
  const int file = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  SUBJECT_NEED(file >= 0 && ftruncate(file, PAGES * PAGE) == 0);
  char* const place = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  memory_fill(place, PAGES * PAGE, seed);
  SUBJECT_NEED(munmap(place, PAGES * PAGE) == 0);
  return file;
}

int main(void) {
  // Open and mapped.
  const int open_file = memfd("open", 1);
  char* const of_open = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, open_file, 0);
  char* const private_of_open = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, open_file, 0);
  memory_fill(private_of_open + PAGE, PAGE, 2);
  // Mapped only.
  const int closed = memfd("closed", 3);
  char* const of_closed = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, closed, 0);
  char* const part_of_closed = memory_map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, closed, 4 * PAGE);
  SUBJECT_NEED(close(closed) == 0);
  // Sealed against any writing, so mapped for reading only.
  const int sealed = memfd("sealed", 4);
  SUBJECT_NEED(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
  char* const of_sealed = memory_map(PAGES * PAGE, PROT_READ, MAP_SHARED, sealed, 0);
  // Sealed against writing from now on, but mapped writable before.
  const int future = memfd("future", 5);
  char* const of_future = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0);
  SUBJECT_NEED(fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK) == 0);

  subject_ready();

  MEMORY_CHECK(of_open, PAGES * PAGE, 1);
  MEMORY_CHECK(private_of_open + PAGE, PAGE, 2);
  MEMORY_CHECK(private_of_open, PAGE, 1);
  of_open[0] = 'o';
  char byte = 0;
  SUBJECT_CHECK(pread(open_file, &byte, 1, 0) == 1 && byte == 'o', "mapping and descriptor are not of one memfd");
  // A private mapping shows the file where it was not written, also what comes into it later.
  SUBJECT_CHECK(private_of_open[0] == 'o' && strstr(memory_area_of(private_of_open).name, "/memfd:open") != NULL);
  SUBJECT_CHECK(madvise(private_of_open + PAGE, PAGE, MADV_DONTNEED) == 0);
  SUBJECT_CHECK(memcmp(private_of_open + PAGE, of_open + PAGE, PAGE) == 0, "what was written over is not the file's");
  MEMORY_CHECK(of_closed, PAGES * PAGE, 3);
  part_of_closed[0] = 'c';
  SUBJECT_CHECK(of_closed[4 * PAGE] == 'c');
  MEMORY_CHECK(of_sealed, PAGES * PAGE, 4);
  SUBJECT_CHECK(fcntl(sealed, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
  SUBJECT_CHECK(mprotect(of_sealed, PAGES * PAGE, PROT_READ | PROT_WRITE) != 0 && errno == EACCES);
  SUBJECT_CHECK(pwrite(sealed, "x", 1, 0) < 0 && errno == EPERM);
  MEMORY_CHECK(of_future, PAGES * PAGE, 5);
  SUBJECT_CHECK(fcntl(future, F_GET_SEALS) == (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK));
  of_future[0] = 'f';
  SUBJECT_CHECK(pread(future, &byte, 1, 0) == 1 && byte == 'f');
  SUBJECT_CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0) == MAP_FAILED && errno == EPERM);
  SUBJECT_CHECK(strstr(memory_area_of(of_open).name, "/memfd:open") != NULL, "the area is of '%s'",
                memory_area_of(of_open).name);
  subject_ok();
}
