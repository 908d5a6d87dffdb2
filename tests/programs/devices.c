// Devices without a state of their own.
#include <sys/sysmacros.h>

#include "descriptors.h"

struct Device {
  const char* path;
  unsigned number;
  int flags;
  int file;
  int seen_flags;
};

static struct Device devices[] = {
    {.path = "/dev/null", .number = 3, .flags = O_RDWR},
    {.path = "/dev/null", .number = 3, .flags = O_WRONLY | O_APPEND | O_CLOEXEC},
    {.path = "/dev/zero", .number = 5, .flags = O_RDONLY | O_NONBLOCK},
    {.path = "/dev/full", .number = 7, .flags = O_RDWR},
    {.path = "/dev/random", .number = 8, .flags = O_RDONLY},
    {.path = "/dev/urandom", .number = 9, .flags = O_RDONLY},
};
enum { kDevices = sizeof devices / sizeof *devices };

int main(void) {
  for (int i = 0; i < kDevices; i++) {
    devices[i].file = open_existing(devices[i].path, devices[i].flags);
    devices[i].seen_flags = fcntl(devices[i].file, F_GETFL);
  }
  const int duplicate = dup(devices[2].file);
  char random_before[32], random_after[32], bytes[32];
  SUBJECT_NEED(read(devices[5].file, random_before, sizeof random_before) == sizeof random_before);

  subject_ready();

  for (int i = 0; i < kDevices; i++) {
    struct stat status;
    SUBJECT_CHECK(fstat(devices[i].file, &status) == 0 && S_ISCHR(status.st_mode) &&
                      status.st_rdev == makedev(1, devices[i].number),
                  "%s", devices[i].path);
    SUBJECT_CHECK(fcntl(devices[i].file, F_GETFL) == devices[i].seen_flags &&
                      strcmp(link_of(devices[i].file), devices[i].path) == 0,
                  "%s", devices[i].path);
    SUBJECT_CHECK(fcntl(devices[i].file, F_GETFD) == ((devices[i].flags & O_CLOEXEC) != 0 ? FD_CLOEXEC : 0), "%s",
                  devices[i].path);
  }
  SUBJECT_CHECK(write(devices[1].file, "swallowed", 9) == 9);
  SUBJECT_CHECK(read(devices[0].file, bytes, sizeof bytes) == 0);
  memset(bytes, 1, sizeof bytes);
  SUBJECT_CHECK(read(devices[2].file, bytes, sizeof bytes) == sizeof bytes && bytes[0] == 0 && bytes[31] == 0);
  expect_error(write(devices[3].file, "x", 1), ENOSPC, "writing to /dev/full");
  SUBJECT_CHECK(read(devices[4].file, bytes, sizeof bytes) == sizeof bytes);
  SUBJECT_CHECK(read(devices[5].file, random_after, sizeof random_after) == sizeof random_after);
  SUBJECT_CHECK(memcmp(random_before, random_after, sizeof random_after) != 0);
  SUBJECT_CHECK(same_description(devices[2].file, duplicate));
  subject_ok();
}
