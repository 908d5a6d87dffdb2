// subject: refused system call user dispatch
#include <sys/prctl.h>

#include "subject.h"

#define SET_USER_DISPATCH 59

int main(void) {
  static char selector = 0;
  if (prctl(SET_USER_DISPATCH, 1, 0x1000, 1UL << 46, &selector) != 0)
    subject_skip("this kernel has no system call user dispatch");
  subject_ready();
  subject_ok();
}
