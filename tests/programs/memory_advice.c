// Advice of madvise(2) and names of areas, as /proc/self/smaps shows them; and what the advice does to a child.
#include <sys/prctl.h>
#include <sys/wait.h>

#include "memory.h"

#define PAGES 8

static const struct {
  int advice;
  const char* flag;
} kinds[] = {
    {MADV_HUGEPAGE, "hg"},   {MADV_NOHUGEPAGE, "nh"}, {MADV_DONTFORK, "dc"},   {MADV_DONTDUMP, "dd"},
    {MADV_WIPEONFORK, "wf"}, {MADV_MERGEABLE, "mg"},  {MADV_SEQUENTIAL, "sr"}, {MADV_RANDOM, "rr"},
};
#define KINDS (sizeof kinds / sizeof *kinds)

// The flags of every area but those that this subject knows to change.
static void flags_of(char* const* places, char (*flags)[256]) {
  for (size_t i = 0; i <= KINDS; ++i) memcpy(flags[i], memory_area_of(places[i]).flags, sizeof *flags);
}

// In a child: 0 if `wiped` is empty there and `absent` is not there.
static int look_in_child(char* wiped, char* absent) {
  const pid_t child = fork();
  if (child == 0) {
    struct memory_area area;
    _exit((memory_is_zero(wiped, PAGE) ? 0 : 1) | (memory_find_area(absent, &area) ? 2 : 0));
  }
  int status = -1;
  SUBJECT_CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
  return WEXITSTATUS(status);
}

int main(void) {
  char* places[KINDS + 1];
  char before[KINDS + 1][256], after[KINDS + 1][256];
  for (size_t i = 0; i < KINDS; ++i) {
    places[i] = memory_anonymous(PAGES * PAGE);
    memory_fill(places[i], PAGES * PAGE, i);
    SUBJECT_NEED(madvise(places[i], PAGES * PAGE, kinds[i].advice) == 0, "advice %d", kinds[i].advice);
  }
  // Several at once.
  places[KINDS] = memory_anonymous(PAGES * PAGE);
  for (size_t i = 1; i < KINDS; ++i) SUBJECT_NEED(madvise(places[KINDS], PAGES * PAGE, kinds[i].advice) == 0);
  // Of a part only, of shared memory, and of a file.
  char* const part = memory_anonymous(3 * PAGE);
  SUBJECT_NEED(madvise(part + PAGE, PAGE, MADV_DONTDUMP) == 0);
  char* const shared = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(madvise(shared, PAGES * PAGE, MADV_DONTFORK) == 0 && madvise(shared, PAGES * PAGE, MADV_DONTDUMP) == 0);
  const int file = memory_file("advised", PAGES * PAGE, 1);
  char* const of_file = memory_map(PAGES * PAGE, PROT_READ, MAP_SHARED, file, 0);
  SUBJECT_NEED(madvise(of_file, PAGES * PAGE, MADV_RANDOM) == 0 && madvise(of_file, PAGES * PAGE, MADV_DONTFORK) == 0);
  char* const named = memory_anonymous(PAGES * PAGE);
  const bool names = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, named, PAGES * PAGE, "a name (of sorts)") == 0;
  flags_of(places, before);
  for (size_t i = 0; i < KINDS; ++i)
    SUBJECT_NEED(memory_has_flag(places[i], kinds[i].flag), "this kernel does not show %s", kinds[i].flag);
  SUBJECT_NEED(look_in_child(places[4], places[2]) == 0);

  subject_ready();

  flags_of(places, after);
  for (size_t i = 0; i <= KINDS; ++i)
    SUBJECT_CHECK(strcmp(before[i], after[i]) == 0, "area %zu:%.120sinstead of%.120s", i, after[i], before[i]);
  for (size_t i = 0; i < KINDS; ++i)
    SUBJECT_CHECK(memory_differs(places[i], PAGES * PAGE, i) < 0, "content of area %zu", i);
  SUBJECT_CHECK(memory_has_flag(part + PAGE, "dd") && !memory_has_flag(part, "dd") &&
                !memory_has_flag(part + 2 * PAGE, "dd"));
  SUBJECT_CHECK(memory_has_flag(shared, "dc") && memory_has_flag(shared, "dd"));
  SUBJECT_CHECK(memory_has_flag(of_file, "rr") && memory_has_flag(of_file, "dc"));
  if (names)
    SUBJECT_CHECK(strcmp(memory_area_of(named).name, "[anon:a name (of sorts)]") == 0, "named '%s'",
                  memory_area_of(named).name);
  SUBJECT_CHECK(look_in_child(places[4], places[2]) == 0, "WIPEONFORK (1) or DONTFORK (2): %d",
                look_in_child(places[4], places[2]));
  subject_ok();
}
