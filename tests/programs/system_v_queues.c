// System V message queues: messages with their types and order, one that a process waits for, limits and rights.
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/wait.h>

#include "subject.h"

struct message {
  long type;
  char text[8000];
};

static int make(key_t key, int mode) {
  const int id = msgget(key, IPC_CREAT | IPC_EXCL | mode);
  SUBJECT_NEED(id >= 0);
  subject_leaves('q', id);
  return id;
}

static void put(int id, long type, size_t length, char fill) {
  struct message message = {.type = type};
  memset(message.text, fill, length);
  SUBJECT_CHECK(msgsnd(id, &message, length, IPC_NOWAIT) == 0);
}

static void take(int id, long wanted, long type, ssize_t length, char fill) {
  struct message message;
  const ssize_t got = msgrcv(id, &message, sizeof message.text, wanted, IPC_NOWAIT);
  SUBJECT_CHECK(got == length && message.type == type, "%zd bytes of type %ld instead of %zd of %ld", got, message.type,
                length, type);
  for (ssize_t i = 0; i < length; ++i) SUBJECT_CHECK(message.text[i] == fill, "at %zd", i);
}

int main(void) {
  const key_t key = (key_t)((unsigned)getpid() << 4 | 0x40000004U);
  const int queue = make(key, 0640);
  const int empty = make(IPC_PRIVATE, 0600);
  const int full = make(IPC_PRIVATE, 0600);
  put(queue, 1, 8000, 'a');
  put(queue, 7, 0, 0);
  put(queue, 1L << 40, 100, 'c');
  put(queue, 1, 5, 'd');
  struct msqid_ds state;
  SUBJECT_NEED(msgctl(empty, IPC_STAT, &state) == 0);
  state.msg_qbytes = 1000;
  SUBJECT_NEED(msgctl(empty, IPC_SET, &state) == 0);
  put(empty, 3, 1, 'x');
  take(empty, 0, 3, 1, 'x');
  put(full, 2, 600, 'f');
  SUBJECT_NEED(msgctl(full, IPC_STAT, &state) == 0);
  state.msg_qbytes = 300;
  SUBJECT_NEED(msgctl(full, IPC_SET, &state) == 0);

  // Nobody has used them yet: that a thread waits is all that tells whose they are.
  const int awaited = make(key + 1, 0600), awaited_semaphore = semget(IPC_PRIVATE, 1, 0600);
  SUBJECT_NEED(awaited_semaphore >= 0);
  subject_leaves('s', awaited_semaphore);
  const pid_t at_queue = fork();
  if (at_queue == 0) {
    struct message message;
    _exit(msgrcv(awaited, &message, sizeof message.text, 0, 0) == 2 ? 0 : 2);
  }
  const pid_t at_semaphore = fork();
  if (at_semaphore == 0) {
    struct sembuf take_one = {0, -1, 0};
    _exit(semop(awaited_semaphore, &take_one, 1) == 0 ? 0 : 2);
  }

  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    struct message message;
    const ssize_t got = msgrcv(queue, &message, sizeof message.text, 99, 0);
    _exit(got == 3 && message.text[2] == 'z' ? 0 : 2);
  }
  subject_sleep_ms(20);

  subject_ready();

  SUBJECT_CHECK(msgget(key, 0) == queue && msgctl(queue, IPC_STAT, &state) == 0);
  SUBJECT_CHECK(state.msg_qnum == 4 && (state.msg_perm.mode & 0777) == 0640 && state.msg_perm.uid == geteuid(), "%d",
                (int)state.msg_qnum);
  put(queue, 99, 3, 'z');
  int status = 0;
  put(awaited, 5, 2, 'w');
  SUBJECT_CHECK(waitpid(at_queue, &status, 0) == at_queue && status == 0, "the queue: %#x", (unsigned)status);
  struct sembuf add_one = {0, 1, 0};
  SUBJECT_CHECK(semop(awaited_semaphore, &add_one, 1) == 0);
  SUBJECT_CHECK(waitpid(at_semaphore, &status, 0) == at_semaphore && status == 0, "semaphore: %#x", (unsigned)status);
  SUBJECT_CHECK(semctl(awaited_semaphore, 0, IPC_RMID) == 0 && msgctl(awaited, IPC_RMID, NULL) == 0);
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0, "%#x", (unsigned)status);
  take(queue, 1L << 40, 1L << 40, 100, 'c');
  take(queue, 0, 1, 8000, 'a');
  take(queue, 0, 7, 0, 0);
  take(queue, 0, 1, 5, 'd');
  SUBJECT_CHECK(msgctl(empty, IPC_STAT, &state) == 0 && state.msg_qnum == 0 && state.msg_qbytes == 1000);
  SUBJECT_CHECK(msgctl(full, IPC_STAT, &state) == 0 && state.msg_qnum == 1 && state.msg_qbytes == 300);
  take(full, 0, 2, 600, 'f');
  SUBJECT_CHECK(msgctl(queue, IPC_RMID, NULL) == 0 && msgctl(empty, IPC_RMID, NULL) == 0 &&
                msgctl(full, IPC_RMID, NULL) == 0);
  subject_ok();
}
