// A place (O_PATH) of a pipe, which has no path.
// subject: refused is the place (O_PATH) of a pipe without a path: pipe:[
#include "descriptors.h"

int main(void) {
  int ends[2];
  SUBJECT_NEED(pipe(ends) == 0);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
  const int place = open_existing(path, O_PATH);
  subject_ready();
  SUBJECT_CHECK(fcntl(place, F_GETFL) == O_PATH);
  subject_ok();
}
