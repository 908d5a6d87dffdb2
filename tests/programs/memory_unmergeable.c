// Memory that is to be merged as a whole (PR_SET_MEMORY_MERGE, which needs CAP_SYS_RESOURCE), but for an area that the
// program has taken out of that.
#include <sys/prctl.h>

#include "memory.h"

int main(void) {
  const int set_memory_merge = 67, get_memory_merge = 68;  // linux/prctl.h since 6.4
  const int merges = prctl(set_memory_merge, 1, 0, 0, 0) == 0;
  char* const secret = memory_anonymous(4 * PAGE);
  char* const apart = memory_anonymous(4 * PAGE);
  memory_fill(secret, 4 * PAGE, 1);
  memory_fill(apart, 4 * PAGE, 2);
  // Others are not joined with it.
  SUBJECT_NEED(mprotect(secret, PAGE, PROT_READ) == 0 && mprotect(apart, PAGE, PROT_READ) == 0);
  if (merges) SUBJECT_NEED(madvise(secret, 4 * PAGE, MADV_UNMERGEABLE) == 0);
  const int was_apart = strstr(memory_area_of(apart).flags, "mg") != NULL;
  SUBJECT_NEED(was_apart == merges && strstr(memory_area_of(secret).flags, "mg") == NULL);
  subject_ready();
  SUBJECT_CHECK(!merges || prctl(get_memory_merge, 0, 0, 0, 0) == 1);
  SUBJECT_CHECK((strstr(memory_area_of(apart).flags, "mg") != NULL) == merges, "merged: %d", merges);
  SUBJECT_CHECK(strstr(memory_area_of(secret).flags, "mg") == NULL, "merged after all");
  subject_ok();
}
