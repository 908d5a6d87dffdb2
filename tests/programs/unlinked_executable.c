// An executable that nobody finds any more, as after an upgrade: the link to it leads to the same content, and it can
// be executed by it once it has that right again, which was taken from it. A child of the program executes it, too.
// subject: checkpoint-says /proc/PID/exe will have another name after a restart
#include <sys/stat.h>
#include <sys/wait.h>

#include "descriptors.h"

#define ANSWER 43

static unsigned long sum_of_executable(void) {
  const int file = open("/proc/self/exe", O_RDONLY);
  SUBJECT_NEED(file >= 0, "/proc/self/exe: %s", strerror(errno));
  unsigned long sum = 0;
  unsigned char part[4096];
  for (ssize_t got; (got = read(file, part, sizeof part)) > 0;) {
    for (ssize_t i = 0; i < got; ++i) sum = sum * 31 + part[i];
  }
  close(file);
  return sum;
}

static void copy_executable(const char* to) {
  const int from = open("/proc/self/exe", O_RDONLY);
  const int copy = open(to, O_WRONLY | O_CREAT | O_EXCL, 0755);
  SUBJECT_NEED(from >= 0 && copy >= 0, "%s", strerror(errno));
  char part[4096];
  for (ssize_t got; (got = read(from, part, sizeof part)) > 0;) SUBJECT_NEED(write(copy, part, (size_t)got) == got);
  close(copy);
  close(from);
}

static int exit_status_of(pid_t child) {
  int status = 0;
  SUBJECT_NEED(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int answer_of_executable(void) {
  const pid_t child = fork();
  if (child == 0) {
    execl("/proc/self/exe", "unlinked_executable", "answer", (char*)NULL);
    _exit(1);
  }
  return exit_status_of(child);
}

// The ends of the pipes that the child inherits.
enum { kGo = 40, kReady = 41 };

// Executes what it unlinks, and so does a child of its own.
static int work_unlinked(void) {
  if (answer_of_executable() != ANSWER || chmod("copy", 0600) != 0 || unlink("copy") != 0) return 1;
  struct stat before;
  struct stat after;
  const unsigned long sum = sum_of_executable();
  if (stat("/proc/self/exe", &before) != 0 || before.st_nlink != 0) return 2;
  const pid_t child = fork();
  char byte = 'r';
  if (child != 0 && write(kReady, &byte, 1) != 1) return 3;
  while (read(kGo, &byte, 1) != 1) continue;
  if (sum_of_executable() != sum) return 4;
  if (stat("/proc/self/exe", &after) != 0 || after.st_nlink != 0 || after.st_size != before.st_size) return 5;
  if ((after.st_mode & ~(mode_t)0100) != before.st_mode)
    return 6;  // the other one may have given it that right already
  if (chmod("/proc/self/exe", 0700) != 0 || answer_of_executable() != ANSWER) return 7;
  if (child == 0) _exit(ANSWER);
  return exit_status_of(child) == ANSWER ? ANSWER : 8;
}

int main(int count, char** arguments) {
  if (count == 2) return strcmp(arguments[1], "answer") == 0 ? ANSWER : work_unlinked();
  copy_executable("copy");
  int go[2];
  int ready[2];
  SUBJECT_NEED(pipe(go) == 0 && pipe(ready) == 0);
  const pid_t child = fork();
  if (child == 0) {
    if (dup2(go[0], kGo) == kGo && dup2(ready[1], kReady) == kReady) execl("copy", "copy", "unlink", (char*)NULL);
    _exit(1);
  }
  char byte;
  close(ready[1]);
  SUBJECT_NEED(read(ready[0], &byte, 1) == 1, "the child ends with %d", exit_status_of(child));

  subject_ready();

  SUBJECT_CHECK(write(go[1], "go", 2) == 2);
  const int status = exit_status_of(child);
  SUBJECT_CHECK(status == ANSWER, "the child finds another executable: %d", status);
  subject_ok();
}
