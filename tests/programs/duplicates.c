// The table itself: duplicates of every kind, close-on-exec of each number apart, gaps, very high numbers, a thousand
// descriptors, none at 0.
#include <sys/resource.h>

#include "descriptors.h"

enum { kMany = 1000 };

int main(void) {
  struct rlimit limit;
  SUBJECT_NEED(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const int highest = (int)(limit.rlim_max < 200000 ? limit.rlim_max : 200000) - 1;
  limit.rlim_cur = (rlim_t)highest + 1;
  SUBJECT_NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  make_file("file", "0123456789");
  const int file = open_existing("file", O_RDWR);
  const int by_dup = dup(file);
  const int by_dup3 = dup3(file, 77, O_CLOEXEC);
  const int by_fcntl = fcntl(file, F_DUPFD, 500);
  const int by_fcntl_cloexec = fcntl(file, F_DUPFD_CLOEXEC, 500);
  const int far_away = dup2(file, highest);
  const int apart = open_existing("file", O_RDWR | O_CLOEXEC);
  SUBJECT_NEED(by_dup3 == 77 && by_fcntl == 500 && by_fcntl_cloexec == 501 && far_away == highest);
  int ends[2];
  SUBJECT_NEED(pipe2(ends, O_CLOEXEC) == 0);
  const int other_end = dup(ends[1]);
  SUBJECT_NEED(close(0) == 0 && fcntl(by_dup, F_SETFL, O_APPEND) == 0);
  for (int i = 0; i < kMany; i++)
    SUBJECT_NEED(fcntl(i % 3 == 0 ? apart : file, i % 2 == 0 ? F_DUPFD : F_DUPFD_CLOEXEC, 1000 + i) == 1000 + i);

  subject_ready();

  const int numbers[] = {by_dup, by_dup3, by_fcntl, by_fcntl_cloexec, far_away};
  for (int i = 0; i < 5; i++) {
    SUBJECT_CHECK(same_description(file, numbers[i]), "number %d", numbers[i]);
    SUBJECT_CHECK(fcntl(numbers[i], F_GETFD) == (i == 1 || i == 3 ? FD_CLOEXEC : 0), "number %d", numbers[i]);
    SUBJECT_CHECK((fcntl(numbers[i], F_GETFL) & O_APPEND) != 0, "number %d", numbers[i]);
  }
  SUBJECT_CHECK(!same_description(file, apart) && fcntl(apart, F_GETFD) == FD_CLOEXEC &&
                (fcntl(apart, F_GETFL) & O_APPEND) == 0);
  SUBJECT_CHECK(same_description(ends[1], other_end) && fcntl(ends[1], F_GETFD) == FD_CLOEXEC &&
                fcntl(other_end, F_GETFD) == 0);
  for (int i = 0; i < kMany; i++) {
    SUBJECT_CHECK(same_description(1000 + i, i % 3 == 0 ? apart : file), "number %d", 1000 + i);
    SUBJECT_CHECK(fcntl(1000 + i, F_GETFD) == (i % 2 == 0 ? 0 : FD_CLOEXEC), "number %d", 1000 + i);
  }
  int count = 0;
  DIR* const table = opendir("/proc/self/fd");
  SUBJECT_CHECK(dirfd(table) == 0, "the lowest free number is %d", dirfd(table));
  for (const struct dirent* entry; (entry = readdir(table)) != NULL;) count += entry->d_name[0] != '.';
  // Standard output and error, the file seven times, the pipe, the thousand, and the listing's own.
  SUBJECT_CHECK(count == 2 + 7 + 3 + kMany + 1, "%d descriptors", count);
  subject_ok();
}
