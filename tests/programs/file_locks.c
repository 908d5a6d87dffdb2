// Locks on files: flock(2), of the process and of an open file description (fcntl(2)); shared, exclusive, on ranges; as
// another process and another description see them.
#include <sys/file.h>
#include <sys/wait.h>

#include "descriptors.h"

static struct flock range(int type, off_t start, off_t length) {
  return (struct flock){.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
}

static void lock(int file, int command, int type, off_t start, off_t length) {
  struct flock wanted = range(type, start, length);
  SUBJECT_NEED(fcntl(file, command, &wanted) == 0);
}

// What keeps another description of `name` from an exclusive lock on the byte at `start`.
static struct flock holder_of(const char* name, off_t start) {
  const int file = open_existing(name, O_RDWR);
  struct flock found = range(F_WRLCK, start, 1);
  SUBJECT_CHECK(fcntl(file, F_OFD_GETLK, &found) == 0 && close(file) == 0);
  return found;
}

static void expect_held(const char* name, off_t at, int type, off_t start, off_t length) {
  const struct flock found = holder_of(name, at);
  SUBJECT_CHECK(found.l_type == type && (type == F_UNLCK || (found.l_start == start && found.l_len == length)),
                "%s at %ld: type %d, start %ld, length %ld", name, (long)at, found.l_type, (long)found.l_start,
                (long)found.l_len);
}

// In another process: 0 if it gets the lock.
static int error_elsewhere(const char* name, int operation) {
  const pid_t child = fork();
  if (child == 0) {
    const int file = open(name, O_RDWR);
    _exit(flock(file, operation | LOCK_NB) == 0 ? 0 : errno);
  }
  int status = 0;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
  return WEXITSTATUS(status);
}

int main(void) {
  for (const char* const* name = (const char* const[]){"whole", "shared", "ranges", "described", "unlocked", NULL};
       *name != NULL; name++)
    make_file(*name, "some bytes to be locked");
  const int whole = open_existing("whole", O_RDONLY);
  const int whole_duplicate = dup(whole);
  const int shared = open_existing("shared", O_RDWR), shared_again = open_existing("shared", O_RDONLY);
  SUBJECT_NEED(flock(whole, LOCK_EX) == 0 && flock(shared, LOCK_SH) == 0 && flock(shared_again, LOCK_SH) == 0);
  const int reading = open_existing("ranges", O_RDONLY), writing = open_existing("ranges", O_WRONLY);
  lock(writing, F_SETLK, F_WRLCK, 0, 5);
  lock(reading, F_SETLK, F_RDLCK, 10, 2);
  lock(writing, F_SETLK, F_WRLCK, 1000, 0);
  const int described = open_existing("described", O_RDWR), described_too = open_existing("described", O_RDWR);
  lock(described, F_OFD_SETLK, F_WRLCK, 3, 4);
  lock(described_too, F_OFD_SETLK, F_RDLCK, 20, 1);
  const int unlocked = open_existing("unlocked", O_RDWR);
  SUBJECT_NEED(flock(unlocked, LOCK_EX) == 0 && flock(unlocked, LOCK_UN) == 0);

  subject_ready();

  SUBJECT_CHECK(error_elsewhere("whole", LOCK_SH) == EAGAIN && error_elsewhere("shared", LOCK_SH) == 0);
  SUBJECT_CHECK(error_elsewhere("shared", LOCK_EX) == EAGAIN && error_elsewhere("unlocked", LOCK_EX) == 0);
  SUBJECT_CHECK(flock(whole_duplicate, LOCK_UN) == 0 && error_elsewhere("whole", LOCK_EX) == 0,
                "the duplicate has no part in the lock");
  SUBJECT_CHECK(flock(shared, LOCK_UN) == 0 && error_elsewhere("shared", LOCK_EX) == EAGAIN,
                "the second shared lock is gone");

  expect_held("described", 4, F_WRLCK, 3, 4);
  expect_held("described", 20, F_RDLCK, 20, 1);
  expect_held("described", 8, F_UNLCK, 0, 0);
  struct flock own = range(F_WRLCK, 3, 4);
  SUBJECT_CHECK(fcntl(described, F_OFD_GETLK, &own) == 0 && own.l_type == F_UNLCK, "the lock is another description's");
  // Closing any descriptor of a file gives up the process's locks on it, so these come last.
  const pid_t child = fork();
  if (child == 0) {
    expect_held("ranges", 1, F_WRLCK, 0, 5);
    expect_held("ranges", 11, F_RDLCK, 10, 2);
    expect_held("ranges", 1 << 20, F_WRLCK, 1000, 0);
    expect_held("ranges", 7, F_UNLCK, 0, 0);
    SUBJECT_CHECK(holder_of("ranges", 0).l_pid == getppid(), "held by %d", holder_of("ranges", 0).l_pid);
    _exit(0);
  }
  int status = 1;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0);
  lock(writing, F_SETLK, F_UNLCK, 0, 0);
  expect_held("ranges", 1, F_UNLCK, 0, 0);
  subject_ok();
}
