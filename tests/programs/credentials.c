// User, group and file system ids, supplementary groups, capabilities and securebits, of a privileged program that gave
// most of it up. The saved user id stays root's, so that the program can report in the end.
// subject: root-only
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "subject.h"

// Raw calls: the C library's change all threads.
static void become(uid_t user, gid_t group) {
  SUBJECT_NEED(syscall(SYS_setresgid, group, group, 0) == 0 && syscall(SYS_setresuid, 0, user, 0) == 0);
}

static struct __user_cap_data_struct* capabilities(void) {
  static _Thread_local struct __user_cap_data_struct data[2];
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  SUBJECT_CHECK(syscall(SYS_capget, &header, data) == 0);
  return data;
}

static void check_ids(uid_t user, gid_t group) {
  uid_t real, effective, saved;
  SUBJECT_CHECK(getresuid(&real, &effective, &saved) == 0 && real == 0 && effective == user && saved == 0,
                "users %d %d %d", (int)real, (int)effective, (int)saved);
  gid_t groups[3];
  SUBJECT_CHECK(
      getresgid(&groups[0], &groups[1], &groups[2]) == 0 && groups[0] == group && groups[1] == group && groups[2] == 0,
      "groups %d %d %d", (int)groups[0], (int)groups[1], (int)groups[2]);
  SUBJECT_CHECK((uid_t)setfsuid((uid_t)-1) == user && (gid_t)setfsgid((gid_t)-1) == group);
}

static void* other_thread(void* barrier) {
  SUBJECT_NEED(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED) == 0);
  become(2222, 3333);
  pthread_barrier_wait(barrier);
  pthread_barrier_wait(barrier);
  check_ids(2222, 3333);
  SUBJECT_CHECK(prctl(PR_GET_SECUREBITS) == (SECBIT_NOROOT | SECBIT_NOROOT_LOCKED), "%#x", prctl(PR_GET_SECUREBITS));
  SUBJECT_CHECK(capabilities()[0].effective == 0, "capabilities %#x", capabilities()[0].effective);
  SUBJECT_CHECK(syscall(SYS_setresuid, 0, 0, 0) == 0);
  return NULL;
}

// Reports and the go-signal are for this user alone.
static void open_the_way(void) {
  char directory[4096];
  snprintf(directory, sizeof directory, "%s", subject_environment("SUBJECT_STATUS"));
  const int file = open(directory, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  SUBJECT_NEED(file >= 0 && fchmod(file, 0666) == 0 && close(file) == 0);
  *strrchr(directory, '/') = '\0';
  SUBJECT_NEED(chmod(directory, 0755) == 0);
}

int main(void) {
  open_the_way();
  const gid_t groups[] = {50, 40, 60};
  SUBJECT_NEED(setgroups(3, groups) == 0);
  SUBJECT_NEED(prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT) == 0 && prctl(PR_CAPBSET_DROP, CAP_MKNOD) == 0);
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, other_thread, &barrier) == 0);
  pthread_barrier_wait(&barrier);
  SUBJECT_NEED(prctl(PR_SET_SECUREBITS, SECBIT_NO_CAP_AMBIENT_RAISE) == 0);
  become(1111, 1112);
  const struct __user_cap_data_struct before = *capabilities();

  subject_ready();

  check_ids(1111, 1112);
  gid_t now[8];
  const int count = getgroups(8, now);
  SUBJECT_CHECK(count == 3 && now[0] + now[1] + now[2] == 150, "%d groups", count);
  const struct __user_cap_data_struct after = *capabilities();
  SUBJECT_CHECK(memcmp(&before, &after, sizeof before) == 0, "capabilities %#x %#x %#x became %#x %#x %#x",
                before.permitted, before.effective, before.inheritable, after.permitted, after.effective,
                after.inheritable);
  SUBJECT_CHECK(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT) == 0 && prctl(PR_CAPBSET_READ, CAP_MKNOD) == 0 &&
                prctl(PR_CAPBSET_READ, CAP_CHOWN) == 1);
  SUBJECT_CHECK(prctl(PR_GET_SECUREBITS) == SECBIT_NO_CAP_AMBIENT_RAISE, "securebits %#x", prctl(PR_GET_SECUREBITS));
  SUBJECT_CHECK(syscall(SYS_setresuid, 0, 0, 0) == 0);
  pthread_barrier_wait(&barrier);
  pthread_join(thread, NULL);
  subject_ok();
}
