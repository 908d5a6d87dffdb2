// mlockall(MCL_FUTURE | MCL_ONFAULT): nothing of what is there, everything that comes, and only as far as it is
// touched.
#include "memory.h"

int main(void) {
  char* const early = memory_anonymous(4 * PAGE);
  // A hole of its own, so that the areas do not become one.
  char* const hole = memory_map(64 * PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(mlockall(MCL_FUTURE | MCL_ONFAULT) == 0);
  char* const before = memory_anonymous(64 * PAGE);
  memory_fill(before, PAGE, 1);
  SUBJECT_NEED(memory_has_flag(before, "lf") && memory_area_of(before).resident == 4 && !memory_has_flag(early, "lo"));
  (void)hole;

  subject_ready();

  MEMORY_CHECK(before, PAGE, 1);
  SUBJECT_CHECK(memory_has_flag(before, "lf") && memory_has_flag(before, "lo") && !memory_has_flag(early, "lo"));
  char* const after = memory_map(64 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SUBJECT_CHECK(memory_has_flag(after, "lo") && memory_has_flag(after, "lf"), "MCL_FUTURE was lost");
  SUBJECT_CHECK(memory_area_of(after).resident == 0, "MCL_ONFAULT was lost");
  subject_ok();
}
