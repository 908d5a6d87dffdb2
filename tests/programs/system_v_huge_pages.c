// System V shared memory of huge pages (SHM_HUGETLB): attached more than once, for reading only, by a child, in part,
// by nobody, and marked to be removed.
// subject: huge-pages 16
// subject: root-only
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "memory.h"

enum { kPages = 3 };
static const size_t kHuge = (size_t)2 << 20;
static const size_t kSize = ((size_t)4 << 20) - 5000;

// -1: this user may have no more.
static int make_if_allowed(size_t size) {
  const int id = shmget(IPC_PRIVATE, size, IPC_CREAT | IPC_EXCL | 0640 | SHM_HUGETLB | (21 << 26));
  if (id < 0) return -1;
  subject_leaves('m', id);
  return id;
}

static int make(size_t size) {
  const int id = make_if_allowed(size);
  if (id < 0) subject_skip("there are no huge pages, or this user may not have them so");
  return id;
}

static char* attach(int id, int flags) {
  char* const place = shmat(id, NULL, flags);
  SUBJECT_CHECK(place != (void*)-1, "segment %d", id);
  return place;
}

static struct shmid_ds state_of(int id) {
  struct shmid_ds state;
  SUBJECT_CHECK(shmctl(id, IPC_STAT, &state) == 0, "segment %d is gone", id);
  return state;
}

static pid_t start_child(char* shared) {
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child != 0) return child;
  subject_wait_for_go();
  while (__atomic_load_n((uint64_t*)shared, __ATOMIC_ACQUIRE) != 1) subject_sleep_ms(1);
  if (memory_differs(shared + kHuge, kHuge - 8192, 1) >= 0) _exit(1);
  memory_fill(shared + kHuge, kHuge - 8192, 2);
  _exit(0);
}

// The middle is not attached any more, and the end cannot be touched.
static char* attach_part(int id) {
  char* const place = attach(id, 0);
  for (size_t i = 0; i < kPages; ++i) memory_fill(place + i * kHuge, kHuge, 10 + i);
  SUBJECT_NEED(munmap(place + kHuge, kHuge) == 0 && mprotect(place + 2 * kHuge, kHuge, PROT_NONE) == 0);
  return place;
}

static void check_part(int id, char* place) {
  MEMORY_CHECK(place, kHuge, 10);
  struct memory_area area;
  SUBJECT_CHECK(!memory_find_area(place + kHuge, &area) && memory_read_signal(place + 2 * kHuge) == SIGSEGV);
  SUBJECT_CHECK(mprotect(place + 2 * kHuge, kHuge, PROT_READ) == 0);
  MEMORY_CHECK(place + 2 * kHuge, kHuge, 12);
  char* const whole = attach(id, 0);
  for (size_t i = 0; i < kPages; ++i) MEMORY_CHECK(whole + i * kHuge, kHuge, 10 + i);
  SUBJECT_CHECK(shmctl(id, IPC_RMID, NULL) == 0);
}

static void check_alone(int id) {
  SUBJECT_CHECK(state_of(id).shm_nattch == 0 && state_of(id).shm_segsz == 5000);
  char* const place = attach(id, 0);
  SUBJECT_CHECK(memory_has_flag(place, "ht"), "no huge pages");
  MEMORY_CHECK(place, 5000, 4);
  SUBJECT_CHECK(shmctl(id, IPC_RMID, NULL) == 0);
}

int main(void) {
  const int segment = make(kSize);
  const int removed = make(kHuge);
  const int alone = make(5000);
  const int parts = make_if_allowed(kPages * kHuge);
  char* const shared = attach(segment, 0);
  memory_fill(shared + kHuge, kHuge - 8192, 1);
  const pid_t child = start_child(shared);
  char* const again = attach(segment, 0);
  char* const read_only = attach(segment, SHM_RDONLY);
  char* const last = attach(removed, 0);
  SUBJECT_NEED(shmctl(removed, IPC_RMID, NULL) == 0);
  memory_fill(last, kHuge, 3);
  char* const for_a_time = attach(alone, 0);
  memory_fill(for_a_time, 5000, 4);
  SUBJECT_NEED(shmdt(for_a_time) == 0);
  char* const part = parts >= 0 ? attach_part(parts) : NULL;
  subject_ready();
  struct shmid_ds state = state_of(segment);
  SUBJECT_CHECK(state.shm_segsz == kSize && (state.shm_perm.mode & 0777) == 0640, "%zu %o", (size_t)state.shm_segsz,
                state.shm_perm.mode);
  SUBJECT_CHECK(state.shm_nattch == 4, "%d attached", (int)state.shm_nattch);
  for (char* const* place = (char*[]){shared, again, read_only, last, NULL}; *place != NULL; ++place)
    SUBJECT_CHECK(memory_has_flag(*place, "ht"), "no huge pages at %p", (void*)*place);
  MEMORY_CHECK(shared + kHuge, kHuge - 8192, 1);
  MEMORY_CHECK(read_only + kHuge, kHuge - 8192, 1);
  SUBJECT_CHECK(mprotect(read_only, kHuge, PROT_READ | PROT_WRITE) != 0 && errno == EACCES);
  SUBJECT_CHECK(memory_is_zero(shared, kHuge));
  __atomic_store_n((uint64_t*)shared, 1, __ATOMIC_RELEASE);
  int status = 0;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0, "status %#x", status);
  MEMORY_CHECK(again + kHuge, kHuge - 8192, 2);
  MEMORY_CHECK(read_only + kHuge, kHuge - 8192, 2);
  SUBJECT_CHECK((state_of(removed).shm_perm.mode & SHM_DEST) != 0);
  MEMORY_CHECK(last, kHuge, 3);
  SUBJECT_CHECK(shmdt(last) == 0 && shmctl(removed, IPC_STAT, &state) != 0, "the removed segment is still there");
  check_alone(alone);
  if (parts >= 0) check_part(parts, part);
  SUBJECT_CHECK(shmdt(shared) == 0 && state_of(segment).shm_nattch == 2 && shmctl(segment, IPC_RMID, NULL) == 0);
  subject_ok();
}
