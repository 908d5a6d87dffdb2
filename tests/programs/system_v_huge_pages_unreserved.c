// A System V segment of more huge pages than there are, none of them reserved (SHM_NORESERVE): a checkpoint brings in
// none, and a restart makes it again.
// subject: huge-pages 8
// subject: root-only
#include <sys/ipc.h>
#include <sys/shm.h>

#include "memory.h"

enum { kPages = 100 };
static const size_t kHuge = (size_t)2 << 20;

int main(void) {
  const int id =
      shmget(IPC_PRIVATE, kPages * kHuge, IPC_CREAT | IPC_EXCL | 0600 | SHM_HUGETLB | SHM_NORESERVE | (21 << 26));
  if (id < 0) subject_skip("there are no huge pages, or this user may not have them so");
  subject_leaves('m', id);
  char* const place = shmat(id, NULL, 0);
  SUBJECT_NEED(place != (void*)-1);
  if (memory_write_signal(place + kHuge) != 0) subject_skip("there are no huge pages");
  memory_fill(place + kHuge, kHuge, 1);
  memory_fill(place + 99 * kHuge, kHuge, 2);
  subject_ready();
  SUBJECT_CHECK(!memory_is_there(place) && !memory_is_there(place + 2 * kHuge), "the checkpoint brought pages in");
  MEMORY_CHECK(place + kHuge, kHuge, 1);
  MEMORY_CHECK(place + 99 * kHuge, kHuge, 2);
  SUBJECT_CHECK(memory_has_flag(place, "ht"), "no huge pages");
  SUBJECT_CHECK(shmdt(place) == 0 && shmctl(id, IPC_RMID, NULL) == 0);
  subject_ok();
}
