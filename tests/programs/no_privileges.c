// A program without any privilege has none after a restart, whatever namespaces it was restarted in.
// subject: ids namespace
#include <linux/capability.h>
#include <sys/prctl.h>

#include "subject.h"

static void sets(struct __user_cap_data_struct data[2]) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  SUBJECT_CHECK(syscall(SYS_capget, &header, data) == 0);
}

int main(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  const struct __user_cap_data_struct none[2] = {{0}};
  SUBJECT_NEED(syscall(SYS_capset, &header, none) == 0);
  const uid_t user = geteuid();
  const gid_t group = getegid();

  subject_ready();

  struct __user_cap_data_struct now[2];
  sets(now);
  SUBJECT_CHECK(memcmp(now, none, sizeof none) == 0, "capabilities %#x %#x %#x", now[0].permitted, now[0].effective,
                now[0].inheritable);
  SUBJECT_CHECK(geteuid() == user && getuid() == user && getegid() == group && getgid() == group, "user %d",
                (int)geteuid());
  SUBJECT_CHECK(prctl(PR_GET_SECUREBITS) == 0, "securebits %#x", prctl(PR_GET_SECUREBITS));
  SUBJECT_CHECK(prctl(PR_GET_DUMPABLE) == 1, "not dumpable any more");
  subject_ok();
}
