// Memory whose faults the program handles itself.
// subject: refused userfaultfd
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "memory.h"

int main(void) {
  const int file = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
  if (file < 0) subject_skip("this kernel has no userfaultfd");
  struct uffdio_api api;
  memset(&api, 0, sizeof api);
  api.api = UFFD_API;
  SUBJECT_NEED(ioctl(file, UFFDIO_API, &api) == 0);
  char* const place = memory_anonymous(4 * PAGE);
  memory_fill(place, PAGE, 1);
  struct uffdio_register area;
  memset(&area, 0, sizeof area);
  area.range.start = (uintptr_t)place;
  area.range.len = 4 * PAGE;
  area.mode = UFFDIO_REGISTER_MODE_MISSING;
  SUBJECT_NEED(ioctl(file, UFFDIO_REGISTER, &area) == 0);
  subject_ready();
  MEMORY_CHECK(place, PAGE, 1);
  subject_ok();
}
