// A process whose main thread has ended while others go on (pthread_exit): it is one still, with its process id,
// memory, descriptors and children, and ends with the last thread.
#include <pthread.h>
#include <sys/wait.h>

#include "subject.h"

static pthread_t main_thread;
static pid_t process;
static int descriptors[2];
static pthread_barrier_t barrier;

static void* other(void* passed) {
  subject_wait_for_go();
  *(int*)passed = 1;
  pthread_barrier_wait(&barrier);
  return NULL;
}

// Of the zombie that it is: 'Z', and it waits for the others (proc_pid_stat(5)).
static int is_zombie(pid_t tid) {
  char path[64];
  char text[512] = "";
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0 || read(file, text, sizeof text - 1) <= 0) return 0;
  close(file);
  const char* const state = strrchr(text, ')');
  return state != NULL && state[2] == 'Z' && strstr(text, "(first)") != NULL;
}

static void wait_until_ended(pid_t tid) {
  while (!is_zombie(tid)) subject_sleep_ms(1);
}

static void* survivor(void* memory) {
  pthread_t thread;
  int passed = 0;
  char byte = 0;
  SUBJECT_NEED(pthread_join(main_thread, NULL) == 0);
  wait_until_ended(process);
  pthread_barrier_init(&barrier, NULL, 2);
  SUBJECT_NEED(pthread_create(&thread, NULL, other, &passed) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const int got = (int)read(descriptors[0], &byte, 1);
    _exit(got == 1 ? 7 : 1);
  }
  SUBJECT_NEED(child > 0);

  subject_ready();

  pthread_barrier_wait(&barrier);
  SUBJECT_CHECK(passed == 1 && pthread_join(thread, NULL) == 0);
  SUBJECT_CHECK(getpid() == process && subject_thread_id() != process, "process %d became %d", process, getpid());
  wait_until_ended(process);
  SUBJECT_CHECK(strcmp(memory, "kept") == 0 && kill(process, 0) == 0);
  int status = 0;
  SUBJECT_CHECK(write(descriptors[1], "x", 1) == 1 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
                    WEXITSTATUS(status) == 7,
                "the child's status is %#x", status);
  subject_ok();
}

int main(void) {
  pthread_t thread;
  static char memory[8192];
  strcpy(memory, "kept");
  main_thread = pthread_self();
  process = getpid();
  SUBJECT_NEED(pipe(descriptors) == 0 && pthread_setname_np(main_thread, "first") == 0);
  SUBJECT_NEED(pthread_create(&thread, NULL, survivor, memory) == 0);
  pthread_exit(NULL);
}
