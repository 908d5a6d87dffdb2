// Extended attributes of unlinked files and memfds, where the file systems have them: also of files that their modes
// do not let be written to, and one without a value.
#include <sys/mman.h>
#include <sys/xattr.h>

#include "descriptors.h"

enum { kLarge = 3000 };

static int kept;  // attributes

static void give(int file, const char* name, const char* value, size_t size) {
  const int given = fsetxattr(file, name, value, size, 0);
  SUBJECT_NEED(given == 0 || errno == ENOTSUP, "%s", name);
  if (given == 0) kept++;
}

static void expect_attribute(int file, const char* name, const char* value, size_t size) {
  char got[kLarge + 1];
  const ssize_t length = fgetxattr(file, name, got, sizeof got);
  if (length < 0 && errno == ENOTSUP) return;
  SUBJECT_CHECK(length == (ssize_t)size && memcmp(got, value, size) == 0, "%s has %zd bytes", name, length);
  kept--;
}

int main(void) {
  char large[kLarge];
  for (int i = 0; i < kLarge; i++) large[i] = (char)i;
  const int file = open("file", O_RDWR | O_CREAT | O_EXCL, 0600);
  const int read_only = open("read-only", O_RDWR | O_CREAT | O_EXCL, 0600);
  const int memory_file = memfd_create("memory", MFD_ALLOW_SEALING);
  SUBJECT_NEED(file >= 0 && read_only >= 0 && memory_file >= 0 && unlink("file") == 0 && unlink("read-only") == 0);
  give(file, "user.short", "v", 1);
  give(file, "user.empty", "", 0);
  give(file, "user.large", large, sizeof large);
  give(read_only, "user.short", "w", 1);
  give(memory_file, "user.memory", "m", 1);
  if (geteuid() == 0) give(memory_file, "trusted.memory", "t", 1);
  SUBJECT_NEED(fchmod(read_only, 0400) == 0 && fcntl(memory_file, F_ADD_SEALS, F_SEAL_WRITE) == 0);
  if (kept == 0) subject_skip("no file system here has extended attributes");

  subject_ready();

  expect_attribute(file, "user.short", "v", 1);
  expect_attribute(file, "user.empty", "", 0);
  expect_attribute(file, "user.large", large, sizeof large);
  expect_attribute(read_only, "user.short", "w", 1);
  expect_attribute(memory_file, "user.memory", "m", 1);
  if (geteuid() == 0) expect_attribute(memory_file, "trusted.memory", "t", 1);
  SUBJECT_CHECK(kept == 0, "%d attributes are gone", kept);
  subject_ok();
}
