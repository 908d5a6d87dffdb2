// Private huge pages that a child has as well: a checkpoint makes no copies, for which there may be no pages.
// subject: huge-pages 4
// subject: rounds 0
#include <sys/wait.h>

#include "memory.h"

static const size_t kHuge = (size_t)2 << 20;

// Bytes of huge pages that this process has for itself: proc_pid_smaps(5).
static long private_huge(void) {
  FILE* const file = fopen("/proc/self/smaps", "re");
  SUBJECT_CHECK(file != NULL);
  char line[1024];
  long all = 0, one = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "Private_Hugetlb: %ld", &one) == 1) all += one;
  }
  fclose(file);
  return all * 1024;
}

int main(void) {
  char* const place =
      mmap(NULL, kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << 26), -1, 0);
  if (place == MAP_FAILED) subject_skip("there are no huge pages");
  memory_fill(place, kHuge, 1);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    subject_wait_for_go();
    while (private_huge() == 0) subject_sleep_ms(1);  // until the parent has a copy
    _exit(memory_differs(place, kHuge, 1) >= 0);
  }
  SUBJECT_NEED(private_huge() == 0);
  subject_ready();
  SUBJECT_CHECK(private_huge() == 0, "the checkpoint made a copy");
  memory_fill(place, kHuge, 2);
  int status = 0;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0, "status %#x", status);
  subject_ok();
}
