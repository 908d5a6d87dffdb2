// A file in /proc of a child, which a restart could not open before there is that child.
// subject: refused a file of another process or thread
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "subject.h"

int main(void) {
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    pause();
    _exit(9);
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/stat", child);
  const int file = open(path, O_RDONLY);
  SUBJECT_NEED(file >= 0);
  subject_ready();
  char content[8] = "";
  SUBJECT_CHECK(read(file, content, sizeof content - 1) > 0 && atoi(content) == child);
  kill(child, SIGTERM);
  SUBJECT_CHECK(waitpid(child, NULL, 0) == child);
  subject_ok();
}
