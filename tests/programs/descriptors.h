// Small things that the subjects about descriptors share. See subject.h.
#pragma once

#include <linux/kcmp.h>
#include <sys/stat.h>

#include "subject.h"

// A new file in the working directory with this content; its descriptor is closed.
static inline void make_file(const char* name, const char* content) {
  const int file = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  SUBJECT_NEED(file >= 0 && write(file, content, strlen(content)) == (ssize_t)strlen(content) && close(file) == 0,
               "cannot make %s", name);
}

static inline int open_existing(const char* name, int flags) {
  const int file = open(name, flags);
  SUBJECT_NEED(file >= 0, "cannot open %s", name);
  return file;
}

static inline void write_text(int file, const char* text) {
  SUBJECT_CHECK(write(file, text, strlen(text)) == (ssize_t)strlen(text), "descriptor %d does not take '%s'", file,
                text);
}

// The next read gives exactly this.
static inline void expect_read(int file, const char* text) {
  char got[4096] = "";
  const ssize_t bytes = read(file, got, sizeof got - 1);
  SUBJECT_CHECK(bytes == (ssize_t)strlen(text) && strcmp(got, text) == 0,
                "descriptor %d gave %zd bytes, '%.200s' instead of '%.200s'", file, bytes, got, text);
}

static inline void expect_content(const char* name, const char* text) {
  const int file = open(name, O_RDONLY | O_CLOEXEC);
  SUBJECT_CHECK(file >= 0, "%s is gone", name);
  expect_read(file, text);
  close(file);
}

static inline void expect_position(int file, off_t wanted) {
  const off_t position = lseek(file, 0, SEEK_CUR);
  SUBJECT_CHECK(position == wanted, "descriptor %d is at %ld instead of %ld", file, (long)position, (long)wanted);
}

static inline void expect_error(ssize_t result, int number, const char* what) {
  const int problem = errno;
  SUBJECT_CHECK(result < 0, "%s succeeded with %zd", what, result);
  SUBJECT_CHECK(problem == number, "%s failed with error %d instead of %d", what, problem, number);
}

static inline int same_description(int first, int second) {
  return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, first, second) == 0;
}

static inline unsigned links_of(int file) {
  struct stat status;
  SUBJECT_CHECK(fstat(file, &status) == 0);
  return (unsigned)status.st_nlink;
}

// What /proc/self/fd shows.
static inline const char* link_of(int file) {
  static char target[4096];
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  const ssize_t length = readlink(path, target, sizeof target - 1);
  SUBJECT_CHECK(length >= 0);
  target[length] = '\0';
  return target;
}
