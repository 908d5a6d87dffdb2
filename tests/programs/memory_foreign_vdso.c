// A snapshot taken under another vDSO: crs is told to take this kernel's for another. The program calls the old code by
// the addresses it remembers, and is led to this kernel's.
// subject: env CRS_TEST_FOREIGN_VDSO=1
// subject: ids namespace new
#include <sched.h>
#include <sys/time.h>

#include "memory_vdso.h"

int main(void) {
  const uintptr_t place = vdso_place();
  const vdso_clock_gettime clock = vdso_find_clock_gettime(place);
  vdso_check_clock(clock);
  SUBJECT_NEED(strcmp(memory_area_of((const void*)place).name, "[vdso]") == 0);
  const double before = vdso_seconds(clock, CLOCK_REALTIME);
  unsigned char old_code[8];
  memcpy(old_code, (const void*)(uintptr_t)clock, sizeof old_code);

  subject_ready();

  vdso_check_clock(clock);
  SUBJECT_CHECK(vdso_seconds(clock, CLOCK_REALTIME) > before);
  struct timeval now;
  SUBJECT_CHECK(gettimeofday(&now, NULL) == 0 && (double)now.tv_sec >= before - 1);
  SUBJECT_CHECK(time(NULL) >= (time_t)before - 1);
  SUBJECT_CHECK(sched_getcpu() >= 0);
  // Whether it was restarted at all is told by the names: this kernel's vDSO is at another place then.
  const bool restarted = strcmp(memory_area_of((const void*)place).name, "[vdso]") != 0;
  const bool led = memcmp(old_code, (const void*)(uintptr_t)clock, sizeof old_code) != 0;
  SUBJECT_CHECK(restarted == led, "restarted %d, led to the new code %d", restarted, led);
  SUBJECT_CHECK(restarted == (atoi(subject_environment("SUBJECT_ROUNDS")) > 0), "restarted %d", restarted);
  subject_ok();
}
