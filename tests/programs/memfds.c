// memfd_create(2): name, content, holes, each seal, mode, mappings that share its memory, and mappings of sealed ones.
#include <sys/mman.h>

#include "descriptors.h"

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static const int seals[] = {F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE};
enum { kSeals = sizeof seals / sizeof *seals };

static int make(const char* name, unsigned flags, const char* content) {
  const int file = memfd_create(name, flags);
  SUBJECT_NEED(file >= 0, "%s", name);
  write_text(file, content);
  return file;
}

static char* map(int file, int protection, int flags) {
  char* const memory = mmap(NULL, 4096, protection, flags, file, 0);
  SUBJECT_NEED(memory != MAP_FAILED);
  return memory;
}

static void check_name(int file, const char* name) {
  char wanted[300];
  snprintf(wanted, sizeof wanted, "/memfd:%s (deleted)", name);
  SUBJECT_CHECK(strcmp(link_of(file), wanted) == 0, "%s", link_of(file));
}

int main(void) {
  const int plain = make("plain and simple", MFD_CLOEXEC, "plain content");
  SUBJECT_NEED(lseek(plain, 3, SEEK_SET) == 3);
  int sealed[kSeals];
  for (int i = 0; i < kSeals; i++) {
    sealed[i] = make("sealed", MFD_ALLOW_SEALING, "sealed content");
    SUBJECT_NEED(fcntl(sealed[i], F_ADD_SEALS, seals[i]) == 0);
  }
  const int everything = make("", MFD_ALLOW_SEALING, "nothing can change");
  SUBJECT_NEED(fcntl(everything, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
  const char* const read_only = mmap(NULL, 4096, PROT_READ, MAP_SHARED, everything, 0);
  SUBJECT_NEED(read_only != MAP_FAILED || errno == EPERM);  // before Linux 6.7 a write seal forbade it
  char* const private_copy = map(everything, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  private_copy[0] = 'N';

  const int unsealed = make("not executable", MFD_ALLOW_SEALING, "x");
  const int no_exec = memfd_create("no exec", MFD_NOEXEC_SEAL);  // since Linux 6.3
  SUBJECT_NEED(fchmod(unsealed, 0640) == 0);

  const int shared = make("shared", MFD_ALLOW_SEALING, "written by one");
  SUBJECT_NEED(ftruncate(shared, 64 << 20) == 0);
  char* const writable = map(shared, PROT_READ | PROT_WRITE, MAP_SHARED);
  char* const second = map(shared, PROT_READ | PROT_WRITE, MAP_SHARED);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", shared);
  const int reader = open_existing(path, O_RDONLY);
  SUBJECT_NEED(fcntl(shared, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0);  // what is mapped stays writable
  struct stat status;
  SUBJECT_NEED(fstat(shared, &status) == 0 && status.st_blocks < 100);

  char lines[2 * 100 + 1] = "";
  for (int i = 0; i < 100; i++) strcat(lines, "a\n");
  const int with_lines = make(lines, 0, "a name of many lines");
  char* const of_lines = map(with_lines, PROT_READ, MAP_SHARED);

  const int closed = make("only mapped", 0, "no descriptor any more");
  char* const only_mapped = map(closed, PROT_READ | PROT_WRITE, MAP_SHARED);
  SUBJECT_NEED(close(closed) == 0);

  subject_ready();

  check_name(plain, "plain and simple");
  check_name(everything, "");
  check_name(with_lines, lines);
  SUBJECT_CHECK(memcmp(of_lines, "a name of many", 14) == 0);
  expect_position(plain, 3);
  expect_read(plain, "in content");
  SUBJECT_CHECK(fcntl(plain, F_GETFD) == FD_CLOEXEC && fcntl(plain, F_GET_SEALS) == F_SEAL_SEAL &&
                fcntl(plain, F_GETFL) == (O_RDWR | 0100000));
  for (int i = 0; i < kSeals; i++)
    SUBJECT_CHECK(fcntl(sealed[i], F_GET_SEALS) == seals[i], "%#x instead of %#x", fcntl(sealed[i], F_GET_SEALS),
                  seals[i]);
  expect_error(fcntl(sealed[0], F_ADD_SEALS, F_SEAL_GROW), EPERM, "adding a seal to what is sealed");
  expect_error(ftruncate(sealed[1], 1), EPERM, "shrinking");
  expect_error(ftruncate(sealed[2], 100), EPERM, "growing");
  for (int i = 3; i < 5; i++) expect_error(pwrite(sealed[i], "x", 1, 0), EPERM, "writing");
  char text[32] = "";
  for (int i = 0; i < kSeals; i++)
    SUBJECT_CHECK(pread(sealed[i], text, 14, 0) == 14 && memcmp(text, "sealed content", 14) == 0);

  SUBJECT_CHECK(fcntl(everything, F_GET_SEALS) == (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
  SUBJECT_CHECK(read_only == MAP_FAILED || strcmp(read_only, "nothing can change") == 0);
  SUBJECT_CHECK(strcmp(private_copy, "Nothing can change") == 0);
  SUBJECT_CHECK(
      read_only == MAP_FAILED || (mprotect((void*)read_only, 4096, PROT_READ | PROT_WRITE) != 0 && errno == EACCES),
      "it can be made writable");

  SUBJECT_CHECK(fstat(unsealed, &status) == 0 && (status.st_mode & 07777) == 0640, "mode %o", status.st_mode);
  if (no_exec >= 0) {
    SUBJECT_CHECK((fcntl(no_exec, F_GET_SEALS) & F_SEAL_EXEC) != 0 && fstat(no_exec, &status) == 0 &&
                      (status.st_mode & 0111) == 0,
                  "mode %o", status.st_mode);
    expect_error(fchmod(no_exec, 0777), EPERM, "making it executable");
  }

  memcpy(writable, "WRITTEN", 7);
  SUBJECT_CHECK(memcmp(second, "WRITTEN by one", 14) == 0);
  SUBJECT_CHECK(pread(reader, text, 14, 0) == 14 && memcmp(text, "WRITTEN by one", 14) == 0);
  expect_error(pwrite(shared, "x", 1, 0), EPERM, "writing");
  SUBJECT_CHECK(fstat(shared, &status) == 0 && status.st_size == 64 << 20 && status.st_blocks < 100, "%ld blocks",
                (long)status.st_blocks);
  SUBJECT_CHECK(strcmp(only_mapped, "no descriptor any more") == 0);
  subject_ok();
}
