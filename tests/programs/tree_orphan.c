// An orphan: its parent has ended, and crs run, or the init of a restart's namespace, has adopted it. It belongs to the
// program, talks with it after the restart, and is adopted again.
#include <string.h>
#include <sys/wait.h>

#include "subject.h"

static void answer(int questions, int answers) {
  char question = 0;
  while (read(questions, &question, 1) == 1) {
    const pid_t parent = getppid();
    if (write(answers, &parent, sizeof parent) != sizeof parent) _exit(2);
  }
  _exit(0);
}

static pid_t parent_of_orphan(int questions, int answers) {
  pid_t parent = 0;
  SUBJECT_CHECK(write(questions, "?", 1) == 1);
  SUBJECT_CHECK(read(answers, &parent, sizeof parent) == sizeof parent, "the orphan does not answer");
  return parent;
}

static int is_run_by_crs(void) {
  char path[64];
  char name[32] = "";
  snprintf(path, sizeof path, "/proc/%d/comm", (int)getppid());
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  const int got = file >= 0 && read(file, name, sizeof name - 1) > 0;
  close(file);
  return got && strcmp(name, "crs-run\n") == 0;
}

int main(void) {
  int questions[2];
  int answers[2];
  SUBJECT_NEED(pipe(questions) == 0 && pipe(answers) == 0);
  const pid_t middle = fork();
  SUBJECT_NEED(middle >= 0);
  if (middle == 0) {
    if (fork() != 0) _exit(0);
    close(questions[1]);
    close(answers[0]);
    while (getppid() == middle) subject_sleep_ms(1);
    answer(questions[0], answers[1]);
  }
  SUBJECT_NEED(waitpid(middle, NULL, 0) == middle);
  close(questions[0]);
  close(answers[1]);
  pid_t parent = middle;
  while (parent == middle) parent = parent_of_orphan(questions[1], answers[0]);
  if (!is_run_by_crs()) {
    close(questions[1]);
    subject_skip("nobody adopts the orphans of this program alone");
  }
  SUBJECT_CHECK(parent == getppid());

  subject_ready();

  SUBJECT_CHECK(parent_of_orphan(questions[1], answers[0]) == getppid(),
                "the orphan has another parent than the program");
  close(questions[1]);
  char byte;
  SUBJECT_CHECK(read(answers[0], &byte, 1) == 0, "the orphan does not end");
  subject_ok();
}
