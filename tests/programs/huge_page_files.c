// Files of huge pages (hugetlbfs): open, mapped whole, in parts, privately, by a child as well; sealed; cut back below
// what is mapped; only mapped any more (root's); only open; with nothing in them.
// subject: huge-pages 24
#include <sys/wait.h>

#include "memory.h"

enum { kAll = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };
static const size_t kHuge = (size_t)2 << 20;

static int make(const char* name, size_t pages) {
  const int file = memfd_create(name, MFD_HUGETLB | MFD_ALLOW_SEALING | (21U << 26) | MFD_CLOEXEC);
  if (file < 0) subject_skip("this kernel has no huge pages of 2 MiB");
  SUBJECT_NEED(ftruncate(file, (off_t)(pages * kHuge)) == 0);
  return file;
}

static char* map(int file, size_t first, size_t pages, int protection, int flags) {
  char* const place = mmap(NULL, pages * kHuge, protection, flags, file, (off_t)(first * kHuge));
  if (place == MAP_FAILED && errno == ENOMEM) subject_skip("there are no huge pages");
  SUBJECT_NEED(place != MAP_FAILED);
  return place;
}

// A page of the file, which nobody has mapped afterwards.
static int made_with(const char* name, size_t pages, size_t page, uint64_t seed) {
  const int file = make(name, pages);
  char* const place = map(file, page, 1, PROT_READ | PROT_WRITE, MAP_SHARED);
  memory_fill(place, kHuge, seed);
  SUBJECT_NEED(munmap(place, kHuge) == 0);
  return file;
}

static void check_file(int file, const char* name, size_t pages, size_t existing) {
  struct stat status;
  SUBJECT_CHECK(fstat(file, &status) == 0);
  SUBJECT_CHECK(status.st_size == (off_t)(pages * kHuge), "%s has %lld bytes", name, (long long)status.st_size);
  SUBJECT_CHECK(status.st_blksize == (blksize_t)kHuge, "%s is of pages of %ld bytes", name, (long)status.st_blksize);
  SUBJECT_CHECK(status.st_blocks == (blkcnt_t)(existing * kHuge / 512), "%s has %ld blocks", name,
                (long)status.st_blocks);
  char link[64], shown[128] = "", wanted[128];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  snprintf(wanted, sizeof wanted, "/memfd:%s (deleted)", name);
  SUBJECT_CHECK(readlink(link, shown, sizeof shown - 1) > 0 && strcmp(shown, wanted) == 0, "%s is %s", name, shown);
}

// Without touching the file.
static uint64_t* child_may_go;

static pid_t start_child(char* of_open) {
  child_may_go = (uint64_t*)memory_map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child != 0) return child;
  subject_wait_for_go();
  while (__atomic_load_n(child_may_go, __ATOMIC_ACQUIRE) != 1) subject_sleep_ms(1);
  if (memory_differs(of_open + kHuge, kHuge, 1) >= 0) _exit(1);
  memory_fill(of_open + 2 * kHuge, kHuge, 3);
  _exit(0);
}

static void check_child(pid_t child, char* of_open) {
  int status = 0;
  __atomic_store_n(child_may_go, 1, __ATOMIC_RELEASE);
  SUBJECT_CHECK(waitpid(child, &status, 0) == child && status == 0, "status %#x", status);
  MEMORY_CHECK(of_open + 2 * kHuge, kHuge, 3);
}

static void check_read(int file, off_t offset, uint64_t word) {
  uint64_t found = 0;
  SUBJECT_CHECK(pread(file, &found, sizeof found, offset) == sizeof found && found == word, "%#llx at %lld",
                (unsigned long long)found, (long long)offset);
}

int main(void) {
  // The child has a mapping of this one alone.
  const int file = made_with("open", 4, 1, 1);
  char* const of_open = map(file, 0, 4, PROT_READ | PROT_WRITE, MAP_SHARED);
  const pid_t child = start_child(of_open);
  SUBJECT_NEED(lseek(file, 12345, SEEK_SET) == 12345);
  char* const part = map(file, 1, 2, PROT_READ | PROT_WRITE, MAP_SHARED);
  char* const own = map(file, 0, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  memory_fill(own, kHuge, 2);
  const int sealed = made_with("sealed", 1, 0, 4);
  SUBJECT_NEED(fcntl(sealed, F_ADD_SEALS, kAll) == 0);
  char* const of_sealed = map(sealed, 0, 1, PROT_READ, MAP_PRIVATE | MAP_NORESERVE);
  const int future = made_with("future", 1, 0, 5);
  char* const of_future = map(future, 0, 1, PROT_READ | PROT_WRITE, MAP_SHARED);
  SUBJECT_NEED(fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0);
  const int cut = made_with("cut", 2, 0, 6);
  char* const of_cut = map(cut, 0, 2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE);
  SUBJECT_NEED(ftruncate(cut, (off_t)kHuge) == 0);
  const int closed = made_with("closed", 2, 1, 7);
  char* const of_closed = map(closed, 0, 2, PROT_READ | PROT_WRITE, MAP_SHARED);
  // Nobody else sees which pages there are of what is not open.
  if (geteuid() == 0) SUBJECT_NEED(close(closed) == 0);
  const int unmapped = made_with("unmapped", 3, 2, 8);
  const int empty = make("empty", 0);
  const int sparse = make("sparse", 100);
  char* const of_sparse = map(sparse, 50, 2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE);
  subject_ready();
  check_file(file, "open", 4, 1);
  check_file(sealed, "sealed", 1, 1);
  check_file(future, "future", 1, 1);
  check_file(cut, "cut", 1, 1);
  check_file(unmapped, "unmapped", 3, 1);
  check_file(empty, "empty", 0, 0);
  check_file(sparse, "sparse", 100, 0);
  SUBJECT_CHECK(lseek(file, 0, SEEK_CUR) == 12345);
  MEMORY_CHECK(of_open + kHuge, kHuge, 1);
  MEMORY_CHECK(part, kHuge, 1);
  MEMORY_CHECK(own, kHuge, 2);
  MEMORY_CHECK(own + kHuge, kHuge, 1);
  check_child(child, of_open);
  MEMORY_CHECK(part + kHuge, kHuge, 3);
  check_read(file, (off_t)(2 * kHuge), memory_word(3, 0));
  SUBJECT_CHECK(memory_is_zero(of_open + 3 * kHuge, kHuge));
  SUBJECT_CHECK(fcntl(sealed, F_GET_SEALS) == kAll && fcntl(future, F_GET_SEALS) == F_SEAL_FUTURE_WRITE);
  SUBJECT_CHECK(fcntl(file, F_GET_SEALS) == 0 && fcntl(file, F_GETFD) == FD_CLOEXEC);
  MEMORY_CHECK(of_sealed, kHuge, 4);
  MEMORY_CHECK(of_future, kHuge, 5);
  memory_fill(of_future, kHuge, 9);
  check_read(future, 8, memory_word(9, 1));
  MEMORY_CHECK(of_cut, kHuge, 6);
  SUBJECT_CHECK(memory_read_signal(of_cut + kHuge) == SIGBUS);
  SUBJECT_CHECK(memory_is_zero(of_closed, kHuge));
  MEMORY_CHECK(of_closed + kHuge, kHuge, 7);
  check_read(unmapped, 0, 0);
  check_read(unmapped, (off_t)(2 * kHuge), memory_word(8, 0));
  for (char* const* place = (char*[]){of_open, part, own, of_sealed, of_future, of_cut, of_closed, of_sparse, NULL};
       *place != NULL; ++place)
    SUBJECT_CHECK(memory_has_flag(*place, "ht"), "no huge pages at %p", (void*)*place);
  SUBJECT_CHECK(memory_has_flag(of_sparse, "nr") && !memory_has_flag(of_open, "nr"));
  memory_fill(of_sparse + kHuge, kHuge, 10);
  check_read(sparse, (off_t)(51 * kHuge), memory_word(10, 0));
  subject_ok();
}
