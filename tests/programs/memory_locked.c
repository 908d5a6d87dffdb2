// Locked memory: mlock, mlock2(MLOCK_ONFAULT), locked areas that cannot be read. Within an ordinary user's
// RLIMIT_MEMLOCK.
#include "memory.h"

#define PAGES 32

int main(void) {
  char* const locked = memory_anonymous(PAGES * PAGE);
  memory_fill(locked, PAGE, 1);
  SUBJECT_NEED(mlock(locked, PAGES * PAGE) == 0);
  char* const on_fault = memory_anonymous(PAGES * PAGE);
  memory_fill(on_fault, PAGE, 2);
  SUBJECT_NEED(mlock2(on_fault, PAGES * PAGE, MLOCK_ONFAULT) == 0);
  char* const part = memory_anonymous(PAGES * PAGE);
  SUBJECT_NEED(mlock(part + 4 * PAGE, 4 * PAGE) == 0);
  char* const hidden = memory_anonymous(PAGES * PAGE);
  memory_fill(hidden, PAGE, 3);
  SUBJECT_NEED(mlock(hidden, PAGES * PAGE) == 0 && mprotect(hidden, PAGES * PAGE, PROT_NONE) == 0);
  char* const read_only = memory_map(PAGES * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(mlock(read_only, PAGES * PAGE) == 0);
  char* const shared = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(mlock(shared, PAGES * PAGE) == 0);
  char* const flagged =
      memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
  const long before = memory_status("VmLck");
  SUBJECT_NEED(before == (long)((6 * PAGES + 4) * PAGE / 1024), "VmLck is %ld", before);

  subject_ready();

  SUBJECT_CHECK(memory_status("VmLck") == before, "VmLck is %ld instead of %ld", memory_status("VmLck"), before);
  MEMORY_CHECK(locked, PAGE, 1);
  MEMORY_CHECK(on_fault, PAGE, 2);
  char* const all[] = {locked, on_fault, part + 4 * PAGE, hidden, read_only, shared, flagged};
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i) {
    SUBJECT_CHECK(memory_has_flag(all[i], "lo"), "area %zu is not locked", i);
    SUBJECT_CHECK(memory_has_flag(all[i], "lf") == (all[i] == on_fault), "area %zu and MLOCK_ONFAULT", i);
  }
  SUBJECT_CHECK(!memory_has_flag(part, "lo") && !memory_has_flag(part + 8 * PAGE, "lo"));
  SUBJECT_CHECK(memory_area_of(locked).resident == (long)(PAGES * PAGE / 1024), "%ld KiB resident",
                memory_area_of(locked).resident);
  SUBJECT_CHECK(memory_area_of(on_fault).resident <= 8, "locked on fault, but %ld KiB are resident",
                memory_area_of(on_fault).resident);
  SUBJECT_CHECK(mprotect(hidden, PAGES * PAGE, PROT_READ) == 0);
  MEMORY_CHECK(hidden, PAGE, 3);
  SUBJECT_CHECK(munlock(locked, PAGES * PAGE) == 0 && memory_status("VmLck") == before - (long)(PAGES * PAGE / 1024));
  subject_ok();
}
