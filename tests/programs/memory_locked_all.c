// mlockall: what is there is locked, and so is what comes later (MCL_FUTURE), before and after the restart.
#include "memory.h"

int main(void) {
  SUBJECT_NEED(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "see ulimit -l");
  char* const before = memory_anonymous(4 * PAGE);
  SUBJECT_NEED(memory_has_flag(before, "lo") && memory_area_of(before).resident >= 16);

  subject_ready();

  SUBJECT_CHECK(memory_has_flag(before, "lo") && memory_has_flag(&before, "lo"));
  char* const after = memory_anonymous(4 * PAGE);
  const struct memory_area area = memory_area_of(after);
  SUBJECT_CHECK(memory_has_flag(after, "lo"), "MCL_FUTURE was lost");
  SUBJECT_CHECK(!memory_has_flag(after, "lf") && area.resident >= 16);
  SUBJECT_CHECK(munlockall() == 0 && memory_status("VmLck") == 0);
  char* const free_again = memory_anonymous(4 * PAGE);
  SUBJECT_CHECK(!memory_has_flag(free_again, "lo"));
  subject_ok();
}
