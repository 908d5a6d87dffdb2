// subject: rounds 0 1
// Memory that a child has from its parent and neither has written to since: each has it after a restart, and where the
// program goes on after its checkpoints it is still the same pages, not twice as many.
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "subject.h"

enum { kPages = 2048, kBytes = 4096 };

// "Page is exclusively mapped" (Documentation/admin-guide/mm/pagemap.rst).
static long count_own(const char* memory) {
  static uint64_t entries[kPages];
  const int file = open("/proc/self/pagemap", O_RDONLY);
  SUBJECT_CHECK(file >= 0);
  const off_t offset = (off_t)((uintptr_t)memory / kBytes * sizeof entries[0]);
  SUBJECT_CHECK(pread(file, entries, sizeof entries, offset) == (ssize_t)sizeof entries);
  close(file);
  long count = 0;
  for (long i = 0; i < kPages; ++i) {
    SUBJECT_CHECK(entries[i] >> 63 == 1 || entries[i] >> 62 == 1, "page %ld is not there", i);
    count += (long)(entries[i] >> 56 & 1);
  }
  return count;
}

static int is_intact(const char* memory) {
  for (long i = 0; i < kPages * kBytes; ++i) {
    if (memory[i] != (char)(i / kBytes % 251 + 1)) return 0;
  }
  return 1;
}

int main(void) {
  char* const memory = mmap(NULL, (size_t)kPages * kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(memory != MAP_FAILED && madvise(memory, (size_t)kPages * kBytes, MADV_NOHUGEPAGE) == 0);
  for (long i = 0; i < kPages * kBytes; ++i) memory[i] = (char)(i / kBytes % 251 + 1);
  int ends[2];
  SUBJECT_NEED(pipe(ends) == 0);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    close(ends[1]);
    char word = 0;
    if (read(ends[0], &word, 1) != 1) _exit(1);
    _exit(is_intact(memory) ? 0 : 2);
  }
  close(ends[0]);
  SUBJECT_NEED(count_own(memory) == 0);

  subject_ready();

  const long own = count_own(memory);
  if (atoi(subject_environment("SUBJECT_ROUNDS")) == 0)
    SUBJECT_CHECK(own == 0, "%ld of %d pages have been copied", own, (int)kPages);
  SUBJECT_CHECK(is_intact(memory), "the parent's memory is damaged");
  SUBJECT_CHECK(write(ends[1], "x", 1) == 1);
  int status = 0;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0, "status %#x", (unsigned)status);
  subject_ok();
}
