// System V semaphores: values, who used each last, a process that waits, and what the ends of the processes do to them
// (SEM_UNDO), of every size and sign.
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/wait.h>

#include "subject.h"

enum { kMany = 45, kChildren = 3 };

union argument {
  int value;
  struct semid_ds* state;
  unsigned short* values;
};

static int make(key_t key, int count, int mode) {
  const int id = semget(key, count, IPC_CREAT | IPC_EXCL | mode);
  SUBJECT_NEED(id >= 0);
  subject_leaves('s', id);
  return id;
}

static void operate(int id, int number, int amount, int flags) {
  struct sembuf operation = {(unsigned short)number, (short)amount, (short)flags};
  SUBJECT_CHECK(semop(id, &operation, 1) == 0, "semaphore %d, %d", number, amount);
}

static int value_of(int id, int number) { return semctl(id, number, GETVAL); }

// What the end of child `number` is to change.
static const int kAmounts[kChildren][4] = {{5, -3, 0, 32767}, {-32768, 1, -1, 0}, {100, 0, 7, -32767}};

static void live(int many, int gate, int number) {
  // The adjustment of an operation is its opposite.
  for (int i = 0; i < 4; ++i) {
    const int amount = kAmounts[number][i];
    const int at = 40 - 10 * number + i;
    const int base = value_of(many, at);
    operate(many, at, -base, 0);
    for (int rest = amount; rest != 0;) {
      const int step = rest > 32767 ? 32767 : rest < -32767 ? -32767 : rest;
      if (step > 0) operate(many, at, step, 0);
      operate(many, at, -step, SEM_UNDO);
      if (step < 0) operate(many, at, step, 0);
      rest -= step;
    }
    // What its end finds: not below what is then taken, and room for what is added.
    operate(many, at, amount < 0 ? 32767 : 1, 0);
    if (amount > 32000) operate(many, at, -1, 0);
  }
  operate(gate, 1, 1, 0);
  operate(gate, 0, -1, 0);
  _exit(0);
}

// Takes `amount` more from the adjustment for semaphore 2, in a call that cannot be done as a whole.
static int error_of_taking(int id, short amount) {
  struct sembuf operations[] = {{2, (short)-value_of(id, 2), IPC_NOWAIT},
                                {2, 32767, IPC_NOWAIT},
                                {2, (short)-amount, IPC_NOWAIT},
                                {2, amount, SEM_UNDO | IPC_NOWAIT},
                                {2, 0, IPC_NOWAIT}};
  return semop(id, operations, 5) == 0 ? 0 : errno;
}

int main(void) {
  const key_t key = (key_t)((unsigned)getpid() << 4 | 0x40000003U);
  const int many = make(key, kMany, 0620);
  const int gate = make(IPC_PRIVATE, 2, 0600);
  unsigned short values[kMany];
  for (int i = 0; i < kMany; ++i) values[i] = (unsigned short)(i * 700);
  SUBJECT_NEED(semctl(many, 0, SETALL, (union argument){.values = values}) == 0);
  SUBJECT_NEED(semctl(gate, 0, SETALL, (union argument){.values = (unsigned short[]){0, 0}}) == 0);
  // Of this process, too: it ends last.
  operate(many, 2, 3, SEM_UNDO);

  pid_t children[kChildren];
  for (int i = 0; i < kChildren; ++i) {
    children[i] = fork();
    SUBJECT_NEED(children[i] >= 0);
    if (children[i] == 0) live(many, gate, i);
  }
  operate(gate, 1, -kChildren, 0);
  while (semctl(gate, 0, GETNCNT) != kChildren) subject_sleep_ms(1);
  SUBJECT_NEED(semctl(many, 0, GETALL, (union argument){.values = values}) == 0);
  pid_t users[kMany];
  for (int i = 0; i < kMany; ++i) users[i] = semctl(many, i, GETPID);

  subject_ready();

  struct semid_ds state;
  SUBJECT_CHECK(semget(key, 0, 0) == many && semctl(many, 0, IPC_STAT, (union argument){.state = &state}) == 0);
  SUBJECT_CHECK(state.sem_nsems == kMany && (state.sem_perm.mode & 0777) == 0620 && state.sem_perm.uid == geteuid());
  unsigned short now[kMany];
  SUBJECT_CHECK(semctl(many, 0, GETALL, (union argument){.values = now}) == 0);
  for (int i = 0; i < kMany; ++i) {
    SUBJECT_CHECK(now[i] == values[i], "semaphore %d has %d instead of %d", i, now[i], values[i]);
    SUBJECT_CHECK(semctl(many, i, GETPID) == users[i], "semaphore %d was used last by %d", i, semctl(many, i, GETPID));
  }
  // They have made their calls again by then, or do so now.
  while (semctl(gate, 0, GETNCNT) != kChildren) subject_sleep_ms(1);
  operate(gate, 0, kChildren, 0);
  for (int i = 0; i < kChildren; ++i) {
    int status = 0;
    SUBJECT_CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0, "%#x", (unsigned)status);
    for (int j = 0; j < 4; ++j) {
      const int at = 40 - 10 * i + j;
      int expected = values[at] + kAmounts[i][j];
      if (expected < 0) expected = 0;
      SUBJECT_CHECK(value_of(many, at) == expected, "semaphore %d has %d instead of %d", at, value_of(many, at),
                    expected);
    }
  }
  for (int i = 0; i < kMany; ++i) {
    if (i % 10 < 4 && i >= 20) continue;
    SUBJECT_CHECK(value_of(many, i) == values[i], "semaphore %d has %d instead of %d", i, value_of(many, i), values[i]);
  }
  SUBJECT_CHECK(error_of_taking(many, 32765) == EAGAIN && error_of_taking(many, 32766) == ERANGE,
                "the adjustment of this process is not -3");
  SUBJECT_CHECK(semctl(many, 0, IPC_RMID) == 0 && semctl(gate, 0, IPC_RMID) == 0);
  subject_ok();
}
