// Regular files: each way to open one keeps its flags, its offset and what it may do; duplicates share an offset, files
// opened apart do not; an offset far beyond the end, and holes.
#include "descriptors.h"

#define CONTENT "0123456789abcdefghijklmnopqrstuvwxyz"

struct Way {
  int flags;
  off_t position;
  int descriptor;
  int seen_flags;
};

static struct Way ways[] = {
    {.flags = O_RDONLY, .position = 0},
    {.flags = O_RDONLY, .position = 7},
    {.flags = O_RDONLY | O_NOATIME, .position = 8},
    {.flags = O_RDONLY | O_NONBLOCK, .position = 9},
    {.flags = O_RDONLY | O_NOFOLLOW, .position = 10},
    {.flags = O_RDONLY | O_ASYNC, .position = 17},
    {.flags = O_WRONLY, .position = 11},
    {.flags = O_WRONLY | O_SYNC, .position = 12},
    {.flags = O_WRONLY | O_DSYNC, .position = 13},
    {.flags = O_RDWR, .position = 14},
    {.flags = O_RDWR | O_DIRECT, .position = 0},
    {.flags = O_RDWR | O_APPEND, .position = 15},
    {.flags = O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC, .position = 16},
    {.flags = O_RDWR | O_TRUNC | O_CREAT,
     .position = 3},  // another file: what it did when it was opened is not done again
};
enum { kWays = sizeof ways / sizeof *ways };

static void open_all(void) {
  for (int i = 0; i < kWays; i++) {
    ways[i].descriptor = open((ways[i].flags & O_TRUNC) != 0 ? "truncated" : "data", ways[i].flags, 0600);
    if (ways[i].descriptor < 0 && (ways[i].flags & O_DIRECT) != 0 && errno == EINVAL)
      continue;  // not on this file system
    SUBJECT_NEED(ways[i].descriptor >= 0, "flags %o", ways[i].flags);
    SUBJECT_NEED(lseek(ways[i].descriptor, ways[i].position, SEEK_SET) == ways[i].position);
    ways[i].seen_flags = fcntl(ways[i].descriptor, F_GETFL);
  }
}

static void check_all(void) {
  for (int i = 0; i < kWays; i++) {
    if (ways[i].descriptor < 0) continue;
    const int flags = fcntl(ways[i].descriptor, F_GETFL);
    SUBJECT_CHECK(flags == ways[i].seen_flags, "flags %o instead of %o", flags, ways[i].seen_flags);
    expect_position(ways[i].descriptor, ways[i].position);
    const int closes = fcntl(ways[i].descriptor, F_GETFD);
    SUBJECT_CHECK(closes == ((ways[i].flags & O_CLOEXEC) != 0 ? FD_CLOEXEC : 0), "flags %o", ways[i].flags);
  }
}

static void check_abilities(void) {
  char byte = 0;
  for (int i = 0; i < kWays; i++) {
    if (ways[i].descriptor < 0 || (ways[i].flags & (O_DIRECT | O_TRUNC)) != 0) continue;
    const ssize_t got = read(ways[i].descriptor, &byte, 1);
    if ((ways[i].flags & O_ACCMODE) == O_WRONLY) {
      expect_error(got, EBADF, "reading what is only written");
    } else {
      SUBJECT_CHECK(got == 1 && byte == CONTENT[ways[i].position], "flags %o: '%c'", ways[i].flags, byte);
    }
    if ((ways[i].flags & O_ACCMODE) == O_RDONLY)
      expect_error(write(ways[i].descriptor, "!", 1), EBADF, "writing what is only read");
  }
  write_text(ways[11].descriptor, "+");  // O_APPEND: wherever the offset is
  write_text(ways[12].descriptor, "-");
  write_text(ways[6].descriptor, "W");
  write_text(ways[9].descriptor, "R");
  expect_content("data", "0123456789aWcdeRghijklmnopqrstuvwxyz+-");
  expect_content("truncated", "tru");
}

int main(void) {
  umask(022);
  make_file("data", CONTENT);
  open_all();
  write_text(ways[kWays - 1].descriptor, "");
  SUBJECT_NEED(pwrite(ways[kWays - 1].descriptor, "tru", 3, 0) == 3);

  make_file("shared", CONTENT);
  const int original = open_existing("shared", O_RDWR);
  const int duplicate = dup(original);
  const int far_duplicate = fcntl(original, F_DUPFD, 300);
  const int apart = open_existing("shared", O_RDWR);
  expect_read(apart, CONTENT);
  SUBJECT_NEED(lseek(duplicate, 5, SEEK_SET) == 5);

  const off_t beyond = (off_t)1 << 40;
  make_file("sparse", "");
  const int sparse = open_existing("sparse", O_RDWR);
  SUBJECT_NEED(ftruncate(sparse, 64 << 20) == 0 && pwrite(sparse, "middle", 6, 32 << 20) == 6);
  SUBJECT_NEED(lseek(sparse, beyond, SEEK_SET) == beyond);
  struct stat before, after;
  SUBJECT_NEED(fstat(sparse, &before) == 0);

  subject_ready();

  check_all();
  check_abilities();

  expect_position(original, 5);
  SUBJECT_CHECK(same_description(original, duplicate) && same_description(original, far_duplicate) &&
                !same_description(original, apart));
  SUBJECT_CHECK(lseek(far_duplicate, 2, SEEK_CUR) == 7);
  expect_position(duplicate, 7);
  expect_position(apart, (off_t)strlen(CONTENT));
  write_text(original, "X");
  SUBJECT_CHECK(pread(apart, &(char){0}, 1, 7) == 1);
  expect_content("shared", "0123456X89abcdefghijklmnopqrstuvwxyz");

  SUBJECT_CHECK(fstat(sparse, &after) == 0 && after.st_size == before.st_size && after.st_blocks == before.st_blocks &&
                after.st_ino == before.st_ino);
  expect_position(sparse, beyond);
  char middle[7] = "";
  SUBJECT_CHECK(pread(sparse, middle, 6, 32 << 20) == 6 && strcmp(middle, "middle") == 0);
  SUBJECT_CHECK(lseek(sparse, 0, SEEK_DATA) > 0, "the hole was filled");
  subject_ok();
}
