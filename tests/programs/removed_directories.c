// Directories that were removed while the program worked in them or had them open: a child works in the same one. They
// are still removed afterwards, with their extended attributes, and nothing appears in the file system.
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "descriptors.h"

#define MODE 0750

static int names_here(int directory) {
  const int again = openat(directory, ".", O_RDONLY | O_DIRECTORY);
  SUBJECT_NEED(again >= 0, "%s", strerror(errno));
  DIR* const stream = fdopendir(again);
  int count = 0;
  while (readdir(stream) != NULL) count++;
  closedir(stream);
  return count;
}

static struct stat status_of(int directory) {
  struct stat status;
  SUBJECT_CHECK(fstatat(directory, ".", &status, 0) == 0, "%s", strerror(errno));
  return status;
}

// Nothing can be made in a removed directory, and it has no path.
static void expect_removed(int directory) {
  const struct stat status = status_of(directory);
  SUBJECT_CHECK(S_ISDIR(status.st_mode) && status.st_nlink == 0 && (status.st_mode & 07777) == MODE,
                "mode %o, %lu links", status.st_mode, (unsigned long)status.st_nlink);
  SUBJECT_CHECK(mkdirat(directory, "inside", 0700) != 0 && errno == ENOENT);
}

static void expect_working_directory_removed(void) {
  char path[4096];
  SUBJECT_CHECK(getcwd(path, sizeof path) == NULL && errno == ENOENT);
  expect_removed(AT_FDCWD);
}

int main(void) {
  umask(0);
  SUBJECT_NEED(mkdir("above", 0755) == 0 && chdir("above") == 0);
  const int above = open(".", O_RDONLY | O_DIRECTORY);
  const int before = names_here(above);
  SUBJECT_NEED(mkdir("work", MODE) == 0 && mkdir("open", MODE) == 0 && mkdir("place", MODE) == 0);
  const int open_one = open("open", O_RDONLY | O_DIRECTORY);
  const int has_attribute = fsetxattr(open_one, "user.kept", "value", 5, 0) == 0;
  SUBJECT_NEED(has_attribute || errno == ENOTSUP, "%s", strerror(errno));
  const int place = open("place", O_PATH | O_DIRECTORY);
  SUBJECT_NEED(open_one >= 0 && place >= 0 && chdir("work") == 0);
  const int same = open(".", O_RDONLY | O_DIRECTORY);
  SUBJECT_NEED(same >= 0);
  for (int i = 0; i < 3; ++i)
    SUBJECT_NEED(unlinkat(above, (const char*[]){"work", "open", "place"}[i], AT_REMOVEDIR) == 0);
  int go[2], answer[2];
  SUBJECT_NEED(pipe(go) == 0 && pipe(answer) == 0);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    char byte;
    while (read(go[0], &byte, 1) != 1) continue;
    expect_working_directory_removed();
    const struct stat mine = status_of(AT_FDCWD);
    _exit(write(answer[1], &mine, sizeof mine) == sizeof mine ? 0 : 1);
  }

  subject_ready();

  expect_working_directory_removed();
  expect_removed(open_one);
  expect_removed(place);
  SUBJECT_CHECK((fcntl(place, F_GETFL) & O_PATH) != 0 && (fcntl(open_one, F_GETFL) & O_ACCMODE) == O_RDONLY);
  const struct stat mine = status_of(AT_FDCWD);
  const struct stat opened = status_of(same);
  SUBJECT_CHECK(mine.st_dev == opened.st_dev && mine.st_ino == opened.st_ino, "another working directory");
  SUBJECT_CHECK(status_of(open_one).st_ino != mine.st_ino);
  char value[6] = "";
  SUBJECT_CHECK(!has_attribute || (fgetxattr(open_one, "user.kept", value, 5) == 5 && strcmp(value, "value") == 0),
                "the attribute is '%s'", value);
  struct stat theirs;
  SUBJECT_CHECK(write(go[1], "x", 1) == 1 && read(answer[0], &theirs, sizeof theirs) == sizeof theirs);
  SUBJECT_CHECK(mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino, "the child works elsewhere");
  SUBJECT_CHECK(waitpid(child, NULL, 0) == child);
  SUBJECT_CHECK(names_here(above) == before, "%d names instead of %d", names_here(above), before);
  subject_ok();
}
