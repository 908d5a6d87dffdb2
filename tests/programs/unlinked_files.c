// Files that no path reaches any more: unlinked, replaced by another file of the same name, made without a name
// (O_TMPFILE), sparse, empty, opened twice, read-only, mapped. Their content comes back, stays theirs, and nothing
// appears in the file system.
#include <sys/mman.h>

#include "descriptors.h"

static int listed(void) {
  int count = 0;
  DIR* const here = opendir(".");
  while (readdir(here) != NULL) count++;
  closedir(here);
  return count;
}

static const char* link_by_number(int number) {
  static char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", number);
  return path;
}

int main(void) {
  umask(022);
  SUBJECT_NEED(mkdir("files", 0755) == 0 && chdir("files") == 0);
  make_file("plain", "plain content");
  const int plain = open_existing("plain", O_RDWR);
  const int again = open_existing("plain", O_RDONLY);
  const int appending = open_existing("plain", O_WRONLY | O_APPEND);
  const int duplicate = dup(plain);
  SUBJECT_NEED(lseek(plain, 6, SEEK_SET) == 6 && fchmod(plain, 0640) == 0 && unlink("plain") == 0);
  const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1234567890, .tv_nsec = 123456789}};
  SUBJECT_NEED(futimens(plain, times) == 0);

  make_file("reused", "the old one");
  const int reused = open_existing("reused", O_RDWR);
  SUBJECT_NEED(unlink("reused") == 0);
  make_file("reused", "the new one");

  make_file("replaced", "before the rename");
  const int replaced = open_existing("replaced", O_RDONLY);
  make_file("replacement", "after the rename");
  SUBJECT_NEED(rename("replacement", "replaced") == 0);

  const int nameless = open(".", O_TMPFILE | O_RDWR, 0600);
  SUBJECT_NEED(nameless >= 0 || errno == EOPNOTSUPP);
  if (nameless >= 0) write_text(nameless, "never had a name");

  const int made = open(".", O_TMPFILE | O_WRONLY | O_APPEND | O_DSYNC, 0400);
  SUBJECT_NEED(made >= 0 || errno == EOPNOTSUPP);
  const int flags_of_maker = made < 0 ? 0 : fcntl(made, F_GETFL);
  const int reader = made < 0 ? -1 : open_existing(link_by_number(made), O_RDONLY);
  const int flags_of_reader = fcntl(reader, F_GETFL);
  if (made >= 0) write_text(made, "by its maker");

  make_file("hollow", "");
  const int hollow = open_existing("hollow", O_RDWR);
  SUBJECT_NEED(ftruncate(hollow, (off_t)1 << 33) == 0 && pwrite(hollow, "deep", 4, (off_t)5 << 30) == 4 &&
               unlink("hollow") == 0);
  make_file("empty", "");
  const int empty = open_existing("empty", O_WRONLY);
  SUBJECT_NEED(unlink("empty") == 0);

  make_file("mapped", "------- by mapping");
  const int mapped = open_existing("mapped", O_RDWR);
  SUBJECT_NEED(unlink("mapped") == 0);
  char* const memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0);
  SUBJECT_NEED(memory != MAP_FAILED);

  SUBJECT_NEED(mkdir("gone", 0755) == 0);
  make_file("gone/inside", "its directory is gone, too");
  const int inside = open_existing("gone/inside", O_RDWR);
  SUBJECT_NEED(unlink("gone/inside") == 0 && rmdir("gone") == 0);
  const int entries = listed();

  subject_ready();

  SUBJECT_CHECK(listed() == entries, "there are %d files instead of %d", listed(), entries);
  struct stat status;
  SUBJECT_CHECK(fstat(plain, &status) == 0 && status.st_nlink == 0 && status.st_size == 13);
  SUBJECT_CHECK((status.st_mode & 07777) == 0640 && status.st_uid == geteuid(), "mode %o", status.st_mode);
  SUBJECT_CHECK(status.st_mtim.tv_sec == 1234567890 && status.st_mtim.tv_nsec == 123456789);
  SUBJECT_CHECK(same_description(plain, duplicate) && !same_description(plain, again));
  expect_position(duplicate, 6);
  expect_read(again, "plain content");
  write_text(plain, "CONTENT");
  write_text(appending, " and more");
  char text[64] = "";
  SUBJECT_CHECK(pread(again, text, sizeof text, 0) == 22 && strcmp(text, "plain CONTENT and more") == 0, "'%s'", text);
  expect_error(write(again, "x", 1), EBADF, "writing what is only read");

  expect_read(reused, "the old one");
  SUBJECT_CHECK(links_of(reused) == 0);
  write_text(reused, "!");
  expect_content("reused", "the new one");
  expect_read(replaced, "before the rename");
  expect_content("replaced", "after the rename");

  if (nameless >= 0) {
    SUBJECT_CHECK(lseek(nameless, 0, SEEK_CUR) == 16 && lseek(nameless, 0, SEEK_SET) == 0);
    expect_read(nameless, "never had a name");
    SUBJECT_CHECK(linkat(AT_FDCWD, link_of(nameless), AT_FDCWD, "named", 0) != 0);  // "/... (deleted)" is no path
    SUBJECT_CHECK(linkat(AT_FDCWD, link_by_number(nameless), AT_FDCWD, "named", AT_SYMLINK_FOLLOW) == 0,
                  "it cannot be given a name (open(2), O_TMPFILE)");
    expect_content("named", "never had a name");
  }

  if (made >= 0) {
    SUBJECT_CHECK((flags_of_maker & O_TMPFILE) == O_TMPFILE && fcntl(made, F_GETFL) == flags_of_maker, "flags %#o",
                  fcntl(made, F_GETFL));
    SUBJECT_CHECK(fcntl(reader, F_GETFL) == flags_of_reader);
    write_text(made, ", who goes on");
    expect_read(reader, "by its maker, who goes on");
  }

  SUBJECT_CHECK(fstat(hollow, &status) == 0 && status.st_size == (off_t)1 << 33 && status.st_blocks < 100, "%ld blocks",
                (long)status.st_blocks);
  SUBJECT_CHECK(pread(hollow, text, 4, (off_t)5 << 30) == 4 && memcmp(text, "deep", 4) == 0);
  SUBJECT_CHECK(fstat(empty, &status) == 0 && status.st_size == 0 && status.st_nlink == 0);

  memcpy(memory, "written", 7);
  expect_read(mapped, "written by mapping");
  SUBJECT_CHECK(pwrite(mapped, "B", 1, 8) == 1 && memory[8] == 'B');
  expect_read(inside, "its directory is gone, too");
  SUBJECT_CHECK(strstr(link_of(inside), "(deleted)") != NULL);
  subject_ok();
}
