// One thread in each call that waits for what outlives a process or lies outside it (System V semaphores and messages,
// locks of files) or for a signal alone: after all rounds each goes on waiting, sees its event, and nothing else.
// subject: ids new
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

#include "subject.h"

static int semaphores, messages, locked_file, other_description, range_file, range_holder;
static _Atomic int handled_in_pause, handled_in_suspend;
static __thread _Atomic int* handled;

typedef struct {
  long type;
  char text[16];
} Message;

static void on_signal(int number) {
  (void)number;
  if (handled != NULL) ++*handled;
}

static void in_semop(void) {
  struct sembuf take = {.sem_num = 0, .sem_op = -1};
  SUBJECT_CHECK(semop(semaphores, &take, 1) == 0, "semop");
}

static void in_msgrcv(void) {
  Message message;
  SUBJECT_CHECK(msgrcv(messages, &message, sizeof message.text, 7, 0) == 6 && strcmp(message.text, "hello") == 0);
}

static void in_flock(void) { SUBJECT_CHECK(flock(other_description, LOCK_EX) == 0, "flock"); }

static void in_setlkw(void) {
  struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
  SUBJECT_CHECK(fcntl(range_file, F_SETLKW, &range) == 0, "F_SETLKW");
}

static void in_pause(void) {
  sigset_t mask;
  sigfillset(&mask);
  sigdelset(&mask, SIGUSR1);
  handled = &handled_in_pause;
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  SUBJECT_CHECK(pause() == -1 && errno == EINTR && handled_in_pause == 1, "pause ended without its signal");
}

static void in_sigsuspend(void) {
  sigset_t mask, now;
  sigfillset(&mask);
  sigdelset(&mask, SIGUSR2);
  handled = &handled_in_suspend;
  SUBJECT_CHECK(sigsuspend(&mask) == -1 && errno == EINTR && handled_in_suspend == 1,
                "sigsuspend ended without its signal");
  pthread_sigmask(SIG_SETMASK, NULL, &now);
  SUBJECT_CHECK(sigismember(&now, SIGUSR2) == 1, "the mask of before sigsuspend is not back");
}

static void (*const kCalls[])(void) = {in_semop, in_msgrcv, in_flock, in_setlkw, in_pause, in_sigsuspend};
enum { kCount = sizeof kCalls / sizeof *kCalls, kPause = 4, kSuspend = 5 };

static _Atomic pid_t ids[kCount];

static void* run(void* number) {
  ids[(intptr_t)number] = subject_thread_id();
  errno = 0;
  kCalls[(intptr_t)number]();
  return NULL;
}

static int open_in_work(const char* name) {
  const int file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  SUBJECT_NEED(file >= 0);
  return file;
}

int main(void) {
  sigset_t mask;
  sigfillset(&mask);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  SUBJECT_NEED(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGUSR2, &action, NULL) == 0);
  semaphores = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
  messages = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
  if (semaphores < 0 || messages < 0) subject_skip("no System V semaphores or messages here");
  locked_file = open_in_work("locked");
  other_description = open_in_work("locked");
  SUBJECT_NEED(flock(locked_file, LOCK_EX) == 0);
  range_holder = open_in_work("ranges");
  range_file = open_in_work("ranges");
  struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 100};
  SUBJECT_NEED(fcntl(range_holder, F_OFD_SETLK, &range) == 0);
  pthread_t threads[kCount];
  for (intptr_t i = 0; i < kCount; i++) {
    SUBJECT_NEED(pthread_create(&threads[i], NULL, run, (void*)i) == 0);
    while (ids[i] == 0) subject_sleep_ms(1);
    subject_wait_until_blocked(ids[i]);
  }
  subject_ready();
  subject_wait_until_others_blocked();
  for (int i = 0; i < kCount; i++)
    SUBJECT_CHECK(pthread_tryjoin_np(threads[i], NULL) == EBUSY, "call %d did not wait", i);
  struct sembuf give = {.sem_num = 0, .sem_op = 1};
  SUBJECT_CHECK(semop(semaphores, &give, 1) == 0);
  const Message message = {7, "hello"};
  SUBJECT_CHECK(msgsnd(messages, &message, 6, 0) == 0);
  SUBJECT_CHECK(flock(locked_file, LOCK_UN) == 0);
  range.l_type = F_UNLCK;
  SUBJECT_CHECK(fcntl(range_holder, F_OFD_SETLK, &range) == 0);
  SUBJECT_CHECK(pthread_kill(threads[kPause], SIGUSR1) == 0 && pthread_kill(threads[kSuspend], SIGUSR2) == 0);
  for (int i = 0; i < kCount; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  semctl(semaphores, 0, IPC_RMID);
  msgctl(messages, IPC_RMID, NULL);
  subject_ok();
}
