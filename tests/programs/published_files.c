// Files that were made under a passing name, or none, and got their own by link(2): a named semaphore, as the C library
// makes it, a file that was linked and unlinked, and one of O_TMPFILE that was given a name. All are mapped; the
// processes must share them afterwards, and others find what is written to them.
// subject: link rt pthread
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "subject.h"

enum { kPage = 4096 };

static char* map(int file) {
  char* const memory = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  SUBJECT_NEED(memory != MAP_FAILED);
  return memory;
}

static void check_byte(const char* name, int offset, char wanted) {
  char byte = 0;
  const int file = open(name, O_RDONLY);
  SUBJECT_CHECK(file >= 0 && pread(file, &byte, 1, offset) == 1 && byte == wanted && close(file) == 0, "%s at %d: %d",
                name, offset, byte);
}

int main(void) {
  char semaphore[64], linked[64], passing[64], published[64], own[64];
  snprintf(semaphore, sizeof semaphore, "/subject-%d-gate", (int)getpid());
  snprintf(linked, sizeof linked, "linked-%d", (int)getpid());
  snprintf(passing, sizeof passing, "passing-%d", (int)getpid());
  snprintf(published, sizeof published, "published-%d", (int)getpid());

  // The child opens the semaphore by its name: only then has it that name in /proc/PID/maps.
  int made[2], opened[2];
  SUBJECT_NEED(pipe(made) == 0 && pipe(opened) == 0);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    char byte = 0;
    SUBJECT_NEED(read(made[0], &byte, 1) == 1);
    sem_t* const gate = sem_open(semaphore, 0);
    SUBJECT_NEED(gate != SEM_FAILED && write(opened[1], "x", 1) == 1);
    while (sem_wait(gate) != 0) {
    }
    _exit(0);
  }
  sem_t* const gate = sem_open(semaphore, O_CREAT | O_EXCL, 0600, 0);
  char byte = 0;
  SUBJECT_NEED(gate != SEM_FAILED && write(made[1], "x", 1) == 1 && read(opened[0], &byte, 1) == 1);

  const int file = open(passing, O_RDWR | O_CREAT | O_EXCL, 0600);
  SUBJECT_NEED(file >= 0 && ftruncate(file, kPage) == 0 && link(passing, linked) == 0 && unlink(passing) == 0);
  char* const of_linked = map(file);
  SUBJECT_NEED(close(file) == 0);

  const int unnamed = open(".", O_TMPFILE | O_RDWR, 0600);
  if (unnamed < 0) subject_skip("this file system has no O_TMPFILE");
  char* const of_published = map(unnamed);
  snprintf(own, sizeof own, "/proc/self/fd/%d", unnamed);
  SUBJECT_NEED(ftruncate(unnamed, kPage) == 0 && linkat(AT_FDCWD, own, AT_FDCWD, published, AT_SYMLINK_FOLLOW) == 0);

  subject_ready();

  SUBJECT_CHECK(sem_post(gate) == 0);
  int status = 0;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0, "%#x", (unsigned)status);
  of_linked[7] = 'l';
  check_byte(linked, 7, 'l');
  of_published[8] = 'm';
  SUBJECT_CHECK(pwrite(unnamed, "d", 1, 9) == 1);
  check_byte(published, 8, 'm');
  check_byte(published, 9, 'd');
  SUBJECT_CHECK(sem_unlink(semaphore) == 0 && unlink(linked) == 0 && unlink(published) == 0);
  subject_ok();
}
