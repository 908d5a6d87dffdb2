// An executable that nobody finds any more, as after an upgrade: the link to it leads to the same content, and it can
// be executed by it. A child of the program executes it, too.
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

int main(int count, char** arguments) {
  if (count == 2 && strcmp(arguments[1], "answer") == 0) return ANSWER;
  if (count == 1) {
    copy_executable("copy");
    execl("copy", "copy", "unlink", (char*)NULL);
    SUBJECT_NEED(0, "execl: %s", strerror(errno));
  }
  SUBJECT_NEED(unlink("copy") == 0);
  const unsigned long sum = sum_of_executable();
  struct stat status;
  SUBJECT_NEED(stat("/proc/self/exe", &status) == 0 && status.st_nlink == 0);
  SUBJECT_NEED(answer_of_executable() == ANSWER);
  int go[2];
  SUBJECT_NEED(pipe(go) == 0);
  const pid_t child = fork();
  if (child == 0) {
    char byte;
    while (read(go[0], &byte, 1) != 1) continue;
    _exit(sum_of_executable() == sum && answer_of_executable() == ANSWER ? ANSWER : 1);
  }

  subject_ready();

  SUBJECT_CHECK(sum_of_executable() == sum, "another executable");
  struct stat now;
  SUBJECT_CHECK(stat("/proc/self/exe", &now) == 0 && now.st_nlink == 0 && now.st_mode == status.st_mode);
  SUBJECT_CHECK(now.st_size == status.st_size, "%ld bytes", (long)now.st_size);
  SUBJECT_CHECK(answer_of_executable() == ANSWER, "it cannot be executed");
  SUBJECT_CHECK(write(go[1], "x", 1) == 1 && exit_status_of(child) == ANSWER, "another executable of the child");
  subject_ok();
}
