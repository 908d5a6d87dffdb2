// System V shared memory: the segment belongs to the system, not to the process.
// subject: refused System V
#include <sys/ipc.h>
#include <sys/shm.h>

#include "subject.h"

int main(void) {
  const int segment = shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
  SUBJECT_NEED(segment >= 0);
  char* area = shmat(segment, NULL, 0);
  SUBJECT_NEED(area != (void*)-1 && shmctl(segment, IPC_RMID, NULL) == 0);
  strcpy(area, "still here");
  subject_ready();
  SUBJECT_CHECK(strcmp(area, "still here") == 0);
  subject_ok();
}
