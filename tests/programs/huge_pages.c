// Memory of huge pages that were set aside: private, with a page that nobody has touched, with one that may only be
// read, and with none reserved; shared with a child, which has a part of it all to itself until now.
// subject: huge-pages 16
#include <sys/wait.h>

#include "memory.h"

enum { kPrivate = 4, kShared = 4 };
static const size_t kHuge = (size_t)2 << 20;

static void* map(size_t pages, int flags) {
  void* const place =
      mmap(NULL, pages * kHuge, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_HUGETLB | (21 << 26) | flags, -1, 0);
  if (place == MAP_FAILED) subject_skip("there are no huge pages");
  return place;
}

static pid_t start_child(char* shared) {
  int* const filled = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(filled != MAP_FAILED);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child != 0) {
    while (!__atomic_load_n(filled, __ATOMIC_ACQUIRE)) subject_sleep_ms(1);
    return child;
  }
  memory_fill(shared + kHuge, kHuge, 7);
  __atomic_store_n(filled, 1, __ATOMIC_RELEASE);
  subject_wait_for_go();
  if (memory_differs(shared, kHuge, 6) >= 0 || memory_differs(shared + kHuge, kHuge, 7) >= 0) _exit(1);
  memory_fill(shared, kHuge, 8);
  _exit(0);
}

static void fill_and_end(char* place) {
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    memory_fill(place, kHuge, 5);
    _exit(0);
  }
  SUBJECT_NEED(waitpid(child, NULL, 0) == child);
}

static void check_child(pid_t child) {
  int status = 0;
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0, "status %#x", status);
}

int main(void) {
  char* const own = map(kPrivate, MAP_PRIVATE);
  char* const unreserved = map(1, MAP_PRIVATE | MAP_NORESERVE);
  char* const shared = map(kShared, MAP_SHARED);
  memory_fill(own, kHuge, 1);
  memory_fill(own + 2 * kHuge + 4096, 4096, 2);
  memory_fill(own + 3 * kHuge, kHuge, 3);
  SUBJECT_NEED(mprotect(own + 3 * kHuge, kHuge, PROT_READ) == 0);
  memory_fill(unreserved, kHuge, 4);
  memory_fill(shared, kHuge, 6);
  fill_and_end(shared + 2 * kHuge);
  const pid_t child = start_child(shared);
  subject_ready();
  MEMORY_CHECK(own, kHuge, 1);
  SUBJECT_CHECK(memory_is_zero(own + kHuge, kHuge));
  SUBJECT_CHECK(memory_is_zero(own + 2 * kHuge, 4096));
  MEMORY_CHECK(own + 2 * kHuge + 4096, 4096, 2);
  SUBJECT_CHECK(memory_is_zero(own + 2 * kHuge + 8192, kHuge - 8192));
  MEMORY_CHECK(own + 3 * kHuge, kHuge, 3);
  MEMORY_CHECK(unreserved, kHuge, 4);
  check_child(child);
  MEMORY_CHECK(shared, kHuge, 8);
  MEMORY_CHECK(shared + kHuge, kHuge, 7);
  MEMORY_CHECK(shared + 2 * kHuge, kHuge, 5);
  SUBJECT_CHECK(memory_is_zero(shared + 3 * kHuge, kHuge));
  for (char* const* place = (char*[]){own, own + 3 * kHuge, unreserved, shared, NULL}; *place != NULL; ++place)
    SUBJECT_CHECK(memory_has_flag(*place, "ht"), "no huge pages at %p", (void*)*place);
  SUBJECT_CHECK(memory_has_flag(unreserved, "nr") && !memory_has_flag(own, "nr"));
  SUBJECT_CHECK(madvise(own, kHuge, MADV_DONTNEED) == 0 && memory_is_zero(own, kHuge));
  memory_fill(own, kHuge, 9);
  subject_ok();
}
