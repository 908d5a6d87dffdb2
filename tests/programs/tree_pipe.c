// A parent and a child that talk through two pipes: the child counts, the parent asks. Both have a descriptor for one
// open file description, whose offset they share; the parent then waits for the child and sees its exit status.
#include <string.h>
#include <sys/wait.h>

#include "subject.h"

enum { kStatus = 23 };

static void child(int questions, int answers, int file, pid_t parent) {
  long count = 0;
  char question = 0;
  while (read(questions, &question, 1) == 1) {
    if (getppid() != parent) _exit(2);
    if (question == 'w' && write(file, "child ", 6) != 6) _exit(3);
    ++count;
    if (write(answers, &count, sizeof count) != sizeof count) _exit(4);
  }
  _exit(kStatus);
}

static long ask(int questions, int answers, char question) {
  long count = 0;
  SUBJECT_CHECK(write(questions, &question, 1) == 1);
  SUBJECT_CHECK(read(answers, &count, sizeof count) == sizeof count, "the child does not answer");
  return count;
}

int main(void) {
  int questions[2];
  int answers[2];
  SUBJECT_NEED(pipe(questions) == 0 && pipe(answers) == 0);
  char path[] = "shared-XXXXXX";
  const int file = mkstemp(path);
  SUBJECT_NEED(file >= 0);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  SUBJECT_NEED(pid >= 0);
  if (pid == 0) {
    close(questions[1]);
    close(answers[0]);
    child(questions[0], answers[1], file, parent);
  }
  close(questions[0]);
  close(answers[1]);
  SUBJECT_CHECK(ask(questions[1], answers[0], 'w') == 1);
  SUBJECT_CHECK(write(file, "parent ", 7) == 7);

  subject_ready();

  SUBJECT_CHECK(ask(questions[1], answers[0], 'w') == 2, "the child has lost count");
  SUBJECT_CHECK(write(file, "parent", 6) == 6);
  char text[64] = "";
  SUBJECT_CHECK(pread(file, text, sizeof text - 1, 0) == 25, "the offset is not shared: %s", text);
  SUBJECT_CHECK(strcmp(text, "child parent child parent") == 0, "%s", text);
  close(questions[1]);
  int status = 0;
  SUBJECT_CHECK(waitpid(pid, &status, 0) == pid);
  SUBJECT_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == kStatus, "status %#x", (unsigned)status);
  unlink(path);
  subject_ok();
}
