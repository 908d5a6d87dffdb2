// Memory protection keys (pkeys(7)): of areas, with the rights that the thread's register gives, and memory that may
// only be executed.
// subject: needs pku ospke
#include "memory.h"

int main(void) {
  const int key = pkey_alloc(0, 0);
  SUBJECT_NEED(key > 0);
  char* const place = memory_anonymous(4 * PAGE);
  memory_fill(place, 4 * PAGE, 1);
  SUBJECT_NEED(pkey_mprotect(place, 4 * PAGE, PROT_READ | PROT_WRITE, key) == 0 &&
               pkey_set(key, PKEY_DISABLE_ACCESS) == 0);

  subject_ready();

  SUBJECT_CHECK(pkey_get(key) == PKEY_DISABLE_ACCESS);
  SUBJECT_CHECK(memory_read_signal(place) == SIGSEGV, "the key does not protect any more");
  SUBJECT_CHECK(pkey_set(key, 0) == 0);
  MEMORY_CHECK(place, 4 * PAGE, 1);
  SUBJECT_CHECK(pkey_set(key, PKEY_DISABLE_WRITE) == 0 && memory_write_signal(place) == SIGSEGV);
  // A signal handler begins with the kernel's own rights, and leaving it by a jump keeps them (pkeys(7)).
  SUBJECT_CHECK(pkey_set(key, PKEY_DISABLE_WRITE) == 0 && memory_read_signal(place) == 0);
  SUBJECT_CHECK(pkey_free(key) == 0);
  subject_ok();
}
