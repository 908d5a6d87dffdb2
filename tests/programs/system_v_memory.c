// System V shared memory: segments with a key and without, attached by several processes, for reading only, in part, by
// nobody, and marked to be removed. Ids, keys, rights and addresses remain; what is shared remains shared.
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "subject.h"

enum { kSize = 14000, kPage = 4096, kPages = 16 };

static int make(key_t key, size_t size, int mode) {
  const int id = shmget(key, size, IPC_CREAT | IPC_EXCL | mode);
  SUBJECT_NEED(id >= 0, "key %#x", (unsigned)key);
  subject_leaves('m', id);
  return id;
}

static struct shmid_ds state_of(int id) {
  struct shmid_ds state;
  SUBJECT_CHECK(shmctl(id, IPC_STAT, &state) == 0, "segment %d is gone", id);
  return state;
}

// Keys that other runs of this program do not have.
static key_t key_of(int number) { return (key_t)((unsigned)getpid() << 4 | (unsigned)number | 0x40000000U); }

static volatile int* shared;  // [0]: what the child is to do next, [1]: what it answers

static void serve(int id, const void* last) {
  if (shmdt(last) != 0) _exit(4);
  int* const own = shmat(id, NULL, 0);
  if (own == (void*)-1) _exit(2);
  while (shared[0] == 0) subject_sleep_ms(1);
  // Both of its views are one memory.
  own[2] = 42;
  shared[1] = shared[2] == 42 && own[100] == 4711;
  if (shmdt((void*)shared) != 0 || own[100] != 4711) _exit(3);
  _exit(0);
}

int main(void) {
  const int keyed = make(key_of(1), kSize, 0640);
  const int removed = make(IPC_PRIVATE, kPage, 0600);
  const int alone = make(key_of(2), 2 * kPage + 1, 0600);
  const int part = make(IPC_PRIVATE, kPages * kPage, 0600);

  shared = shmat(keyed, NULL, 0);
  SUBJECT_NEED(shared != (void*)-1);
  shared[100] = 4711;
  const volatile int* const read_only = shmat(keyed, NULL, SHM_RDONLY);
  SUBJECT_NEED(read_only != (void*)-1);

  // Seen by nobody who could write it.
  char* const last = shmat(removed, NULL, 0);
  SUBJECT_NEED(last != (void*)-1 && shmctl(removed, IPC_RMID, NULL) == 0);
  strcpy(last, "still here");

  char* text = shmat(alone, NULL, 0);
  SUBJECT_NEED(text != (void*)-1);
  strcpy(text, "begin");
  text[2 * kPage] = 'x';
  SUBJECT_NEED(shmdt(text) == 0);

  char* pages = shmat(part, NULL, 0);
  SUBJECT_NEED(pages != (void*)-1);
  for (int i = 0; i < kPages; ++i) pages[i * kPage] = (char)(i + 1);
  SUBJECT_NEED(munmap(pages, 2 * kPage) == 0 && munmap(pages + 8 * kPage, kPage) == 0);
  SUBJECT_NEED(mprotect(pages + 4 * kPage, kPage, PROT_NONE) == 0);

  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) serve(keyed, last);
  while (state_of(keyed).shm_nattch != 5) subject_sleep_ms(1);

  subject_ready();

  struct shmid_ds state = state_of(keyed);
  SUBJECT_CHECK(shmget(key_of(1), kSize, 0) == keyed);
  SUBJECT_CHECK(state.shm_segsz == kSize && (state.shm_perm.mode & 0777) == 0640 && state.shm_perm.uid == geteuid(),
                "%zu %o", (size_t)state.shm_segsz, state.shm_perm.mode);
  SUBJECT_CHECK(state.shm_nattch == 5, "%d attached", (int)state.shm_nattch);
  SUBJECT_CHECK(state.shm_cpid == getpid(), "made by %d", (int)state.shm_cpid);
  SUBJECT_CHECK(shared[100] == 4711 && read_only[100] == 4711);
  SUBJECT_CHECK(mprotect((void*)(unsigned long)read_only, kPage, PROT_READ | PROT_WRITE) != 0 && errno == EACCES);

  SUBJECT_CHECK((state_of(removed).shm_perm.mode & SHM_DEST) != 0);
  SUBJECT_CHECK(strcmp(last, "still here") == 0);
  SUBJECT_CHECK(shmdt(last) == 0 && shmctl(removed, IPC_STAT, &state) != 0, "the removed segment is still there");

  SUBJECT_CHECK(shmget(key_of(2), 0, 0) == alone && state_of(alone).shm_nattch == 0);
  text = shmat(alone, NULL, 0);
  SUBJECT_CHECK(text != (void*)-1 && strcmp(text, "begin") == 0 && text[2 * kPage] == 'x');
  SUBJECT_CHECK(shmdt(text) == 0 && shmctl(alone, IPC_RMID, NULL) == 0);

  SUBJECT_CHECK(mprotect(pages + 4 * kPage, kPage, PROT_READ) == 0);
  char* const whole = shmat(part, NULL, 0);
  SUBJECT_CHECK(whole != (void*)-1);
  for (int i = 0; i < kPages; ++i) SUBJECT_CHECK(whole[i * kPage] == i + 1, "page %d", i);
  whole[4 * kPage] = 'z';
  SUBJECT_CHECK(pages[4 * kPage] == 'z');
  SUBJECT_CHECK(shmctl(part, IPC_RMID, NULL) == 0);

  shared[0] = 1;
  int status = 0;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0, "%#x", (unsigned)status);
  SUBJECT_CHECK(shared[1] == 1 && read_only[2] == 42);
  SUBJECT_CHECK(state_of(keyed).shm_nattch == 2, "%d attached", (int)state_of(keyed).shm_nattch);
  SUBJECT_CHECK(shmdt((void*)(unsigned long)read_only) == 0 && shmctl(keyed, IPC_RMID, NULL) == 0);
  subject_ok();
}
