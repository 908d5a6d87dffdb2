// Unlinked files and memfds that this user may not open (again): their content is read through the descriptions that
// the program has. Content, holes, offsets, access and modes stay, also where the memory maps them. With
// --ids new there is no user namespace in which a restart could open what it wants.
// subject: ids new
#include <sys/mman.h>

#include "descriptors.h"

enum { kPage = 4096, kPages = 700 };

static char page[kPage];

static int unlinked(const char* name, int flags, mode_t mode) {
  const int file = open(name, flags | O_CREAT | O_EXCL, mode);
  SUBJECT_NEED(file >= 0 && unlink(name) == 0, "%s", name);
  return file;
}

static void fill(int file, int number) {
  memset(page, 'a' + number % 26, sizeof page);
  SUBJECT_NEED(pwrite(file, page, sizeof page, (off_t)number * kPage) == kPage);
}

static void check_page(int file, int number, int value) {
  SUBJECT_CHECK(pread(file, page, sizeof page, (off_t)number * kPage) == kPage, "page %d", number);
  for (int i = 0; i < kPage; i++) SUBJECT_CHECK(page[i] == value, "page %d has %#x at %d", number, page[i], i);
}

static void check_file(int file, mode_t mode, int flags, off_t size) {
  struct stat status;
  SUBJECT_CHECK(fstat(file, &status) == 0 && (status.st_mode & 07777) == mode, "mode %o", status.st_mode);
  SUBJECT_CHECK(status.st_size == size && status.st_nlink == 0, "%ld bytes", (long)status.st_size);
  SUBJECT_CHECK((fcntl(file, F_GETFL) & (O_ACCMODE | O_APPEND | O_DIRECT)) == flags, "flags %#o",
                (unsigned)fcntl(file, F_GETFL));
}

static void reopen_fails(int file, int flags) {
  if (geteuid() == 0) return;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  expect_error(open(path, flags), EACCES, "opening it again");
}

int main(void) {
  const int empty = unlinked("empty", O_RDONLY, 0);
  const int sparse = unlinked("sparse", O_RDWR, 0);
  for (int number = 0; number < kPages; number += 3) fill(sparse, number);
  SUBJECT_NEED(ftruncate(sparse, kPages * kPage + 5) == 0 && pwrite(sparse, "tail", 4, kPages * kPage) == 4);
  SUBJECT_NEED(lseek(sparse, 12345, SEEK_SET) == 12345);
  // One that writes only, and one that reads the same file.
  const int reader = open("two", O_RDONLY | O_CREAT | O_EXCL, 0200);
  SUBJECT_NEED(reader >= 0);
  const int writer = open("two", O_WRONLY | O_APPEND);
  SUBJECT_NEED(writer >= 0 && unlink("two") == 0);
  write_text(writer, "by the one");
  // Of whole blocks (O_DIRECT), where the file system has that.
  const int direct = open("direct", O_RDWR | O_CREAT | O_EXCL | O_DIRECT, 0);
  SUBJECT_NEED(direct < 0 || unlink("direct") == 0);
  if (direct >= 0) {
    SUBJECT_NEED(fcntl(direct, F_SETFL, 0) == 0);
    fill(direct, 1);
    SUBJECT_NEED(ftruncate(direct, 2 * kPage + 77) == 0 && fcntl(direct, F_SETFL, O_DIRECT) == 0);
  }
  const int memory_file = memfd_create("closed to all", MFD_ALLOW_SEALING);
  SUBJECT_NEED(memory_file >= 0 && ftruncate(memory_file, 2 * kPage) == 0);
  char* const shared = mmap(NULL, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, memory_file, 0);
  const char* const seen = mmap(NULL, 2 * kPage, PROT_READ, MAP_PRIVATE, memory_file, 0);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", memory_file);
  const int looker = open_existing(path, O_RDONLY);
  const char* const never_written = mmap(NULL, kPage, PROT_READ, MAP_SHARED, looker, 0);
  SUBJECT_NEED(shared != MAP_FAILED && seen != MAP_FAILED && never_written != MAP_FAILED);
  strcpy(shared, "in memory");
  SUBJECT_NEED(fchmod(memory_file, 0) == 0 && fcntl(memory_file, F_ADD_SEALS, F_SEAL_GROW) == 0);

  subject_ready();

  check_file(empty, 0, O_RDONLY, 0);
  reopen_fails(empty, O_RDONLY);
  expect_error(write(empty, "x", 1), EBADF, "writing");
  check_file(sparse, 0, O_RDWR, kPages * kPage + 5);
  reopen_fails(sparse, O_RDONLY);
  expect_position(sparse, 12345);
  for (int number = 0; number < kPages; number++) check_page(sparse, number, number % 3 == 0 ? 'a' + number % 26 : 0);
  SUBJECT_CHECK(pread(sparse, page, kPage, kPages * kPage) == 5 && memcmp(page, "tail", 5) == 0);
  check_file(reader, 0200, O_RDONLY, 10);
  check_file(writer, 0200, O_WRONLY | O_APPEND, 10);
  reopen_fails(writer, O_RDONLY);
  expect_read(reader, "by the one");
  write_text(writer, " and once more");
  expect_read(reader, " and once more");
  if (direct >= 0) {
    check_file(direct, 0, O_RDWR | O_DIRECT, 2 * kPage + 77);
    SUBJECT_CHECK(fcntl(direct, F_SETFL, 0) == 0);
    check_page(direct, 0, 0);
    check_page(direct, 1, 'b');
  }
  check_file(memory_file, 0, O_RDWR, 2 * kPage);
  reopen_fails(memory_file, O_RDWR);
  SUBJECT_CHECK(fcntl(memory_file, F_GET_SEALS) == F_SEAL_GROW);
  SUBJECT_CHECK(strcmp(shared, "in memory") == 0 && strcmp(seen, "in memory") == 0);
  SUBJECT_CHECK(pwrite(memory_file, "IN", 2, 0) == 2 && strcmp(shared, "IN memory") == 0 &&
                strcmp(never_written, "IN memory") == 0);
  SUBJECT_CHECK(pread(looker, page, 9, 0) == 9 && memcmp(page, "IN memory", 9) == 0);
  subject_ok();
}
