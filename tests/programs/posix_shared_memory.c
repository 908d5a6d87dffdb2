// POSIX shared memory and named semaphores: files in /dev/shm, mapped by several processes, with a name and unlinked
// while they are in use.
// subject: link rt pthread
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "subject.h"

enum { kPage = 4096, kPages = 8 };

static char* make(const char* name, int keeps_name) {
  const int file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
  SUBJECT_NEED(file >= 0 && ftruncate(file, kPages * kPage) == 0);
  char* const memory = mmap(NULL, kPages * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  SUBJECT_NEED(memory != MAP_FAILED && close(file) == 0);
  if (!keeps_name) SUBJECT_NEED(shm_unlink(name) == 0);
  for (int i = 0; i < kPages; ++i) memory[i * kPage] = (char)(i + 1);
  return memory;
}

int main(void) {
  char named[64], unnamed[64], gate_name[64], last_name[64];
  snprintf(named, sizeof named, "/subject-%d-named", (int)getpid());
  snprintf(unnamed, sizeof unnamed, "/subject-%d-unnamed", (int)getpid());
  snprintf(gate_name, sizeof gate_name, "/subject-%d-gate", (int)getpid());
  snprintf(last_name, sizeof last_name, "/subject-%d-last", (int)getpid());
  char* const with_name = make(named, 1);
  char* const without = make(unnamed, 0);
  sem_t* const gate = sem_open(gate_name, O_CREAT | O_EXCL, 0600, 0);
  sem_t* const unlinked = sem_open(last_name, O_CREAT | O_EXCL, 0600, 5);
  SUBJECT_NEED(gate != SEM_FAILED && unlinked != SEM_FAILED && sem_unlink(last_name) == 0);

  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    while (sem_wait(gate) != 0) {
    }
    with_name[1]++;
    without[1]++;
    _exit(sem_post(unlinked) == 0 ? 0 : 2);
  }
  subject_ready();

  for (int i = 0; i < kPages; ++i) SUBJECT_CHECK(with_name[i * kPage] == i + 1 && without[i * kPage] == i + 1, "%d", i);
  int value = 0;
  SUBJECT_CHECK(sem_getvalue(unlinked, &value) == 0 && value == 5, "%d", value);
  SUBJECT_CHECK(sem_getvalue(gate, &value) == 0 && value == 0, "%d", value);
  sem_t* const again = sem_open(gate_name, 0);
  SUBJECT_CHECK(again == gate, "the name leads to another semaphore");
  SUBJECT_CHECK(sem_post(again) == 0);
  int status = 0;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0, "%#x", (unsigned)status);
  SUBJECT_CHECK(with_name[1] == 1 && without[1] == 1, "the memory is not shared any more");
  SUBJECT_CHECK(sem_getvalue(unlinked, &value) == 0 && value == 6, "%d", value);
  const int file = shm_open(named, O_RDWR, 0);
  char byte = 0;
  SUBJECT_CHECK(file >= 0 && pread(file, &byte, 1, 1) == 1 && byte == 1, "the name leads to another file");
  SUBJECT_CHECK(shm_unlink(named) == 0 && sem_unlink(gate_name) == 0);
  subject_ok();
}
