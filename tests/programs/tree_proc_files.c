// Files, directories and places in /proc of the process that opened them, in a tree: they stay that process's, with
// their duplicates and for those that inherited them, and can be watched. Of the root and of a child with a child.
#include <sys/epoll.h>
#include <sys/wait.h>

#include "descriptors.h"

enum { kFile, kDirectory, kPlace, kSorts };

struct Opened {
  pid_t owner;
  int original[kSorts];
  int duplicate[kSorts];
  int position;
  int mounts;
  int epoll;
};

static struct Opened open_own(void) {
  struct Opened opened = {.owner = getpid(), .position = 20};
  opened.original[kFile] = open("/proc/self/status", O_RDONLY);
  opened.original[kDirectory] = open("/proc/self/fdinfo", O_RDONLY | O_DIRECTORY);
  opened.original[kPlace] = open("/proc/self/maps", O_PATH);
  for (int i = 0; i < kSorts; i++) SUBJECT_NEED((opened.duplicate[i] = fcntl(opened.original[i], F_DUPFD, 100)) >= 0);
  SUBJECT_NEED(lseek(opened.duplicate[kFile], opened.position, SEEK_SET) == opened.position);
  struct epoll_event event = {.events = EPOLLPRI | EPOLLONESHOT, .data.u32 = 7};
  opened.mounts = open("/proc/self/mounts", O_RDONLY);
  opened.epoll = epoll_create1(0);
  SUBJECT_NEED(epoll_ctl(opened.epoll, EPOLL_CTL_ADD, opened.mounts, &event) == 0);
  return opened;
}

static void expect_owner(int descriptor, pid_t owner) {
  char folder[32];
  snprintf(folder, sizeof folder, "/proc/%d/", owner);
  const char* const link = link_of(descriptor);
  SUBJECT_CHECK(strncmp(link, folder, strlen(folder)) == 0, "process %d has %.500s instead of one of process %d",
                getpid(), link, owner);
}

static int is_shared_with(pid_t other, int descriptor) {
  return syscall(SYS_kcmp, getpid(), other, 0, descriptor, descriptor) == 0;
}

static void check_opened(const struct Opened* opened) {
  for (int i = 0; i < kSorts; i++) {
    expect_owner(opened->original[i], opened->owner);
    SUBJECT_CHECK(same_description(opened->original[i], opened->duplicate[i]), "%s is not one with its duplicate",
                  link_of(opened->original[i]));
    SUBJECT_CHECK(is_shared_with(opened->owner, opened->original[i]), "%s is not that of process %d",
                  link_of(opened->original[i]), opened->owner);
  }
  expect_owner(opened->mounts, opened->owner);
  expect_position(opened->original[kFile], opened->position);
  char content[4096] = "", line[32];
  snprintf(line, sizeof line, "\nPid:\t%d\n", opened->owner);
  SUBJECT_CHECK(pread(opened->original[kFile], content, sizeof content - 1, 0) > 0 && strstr(content, line) != NULL,
                "process %d reads '%.300s'", getpid(), content);
  struct epoll_event event = {.events = EPOLLPRI | EPOLLONESHOT, .data.u32 = 7};
  SUBJECT_CHECK(epoll_ctl(opened->epoll, EPOLL_CTL_MOD, opened->mounts, &event) == 0, "the mounts are not watched");
}

// A file that only the process itself can name: by a number that it has.
static int open_own_number(void) {
  const int opened = open("/proc/self/fdinfo/0", O_RDONLY);
  SUBJECT_NEED(opened >= 0);
  return opened;
}

static void live(struct Opened roots, int ready) {
  const struct Opened own = open_own();
  const pid_t grandchild = fork();
  SUBJECT_NEED(grandchild >= 0);
  const int number = open_own_number();
  const int duplicate = dup(number);
  SUBJECT_NEED(write(ready, "r", 1) == 1);
  while (access(subject_environment("SUBJECT_GO"), F_OK) != 0) subject_sleep_ms(5);
  expect_owner(number, getpid());
  SUBJECT_CHECK(same_description(number, duplicate));
  check_opened(&roots);
  check_opened(&own);
  int status = 0;
  if (grandchild > 0) SUBJECT_CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0, "%x", status);
  _exit(0);
}

int main(void) {
  const struct Opened own = open_own();
  int ready[2];
  SUBJECT_NEED(pipe(ready) == 0);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) live(own, ready[1]);
  char byte;
  for (int i = 0; i < 2; i++) SUBJECT_NEED(read(ready[0], &byte, 1) == 1);
  const int number = open_own_number();
  const int duplicate = dup(number);

  subject_ready();

  expect_owner(number, getpid());
  SUBJECT_CHECK(same_description(number, duplicate));
  check_opened(&own);
  int status = 0;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0, "%x", status);
  subject_ok();
}
