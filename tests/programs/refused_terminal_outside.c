// Terminals that a process outside the tree has open, too. Where one waits for the end of a line that has been begun,
// that line is left alone: the wait must not see an end of file. Where one has a complete line, it is refused.
// subject: rounds 1
// subject: refused which is not in the snapshot, has it open, too
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>

#include "descriptors.h"

static int waited[2], held[2];  // master, terminal

// Ends when the masters are closed.
static void read_outside(void) {
  char line[64] = "";
  close(waited[0]);
  close(held[0]);
  if (setsid() < 0) _exit(1);
  const ssize_t bytes = read(waited[1], line, sizeof line - 1);
  const int file = open("read_outside", O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (file < 0 || write(file, line, bytes > 0 ? (size_t)bytes : 0) < 0 || rename("read_outside", "has_read") != 0)
    _exit(1);
  for (struct pollfd entry = {held[1], POLLHUP, 0}; (entry.revents & POLLHUP) == 0;) poll(&entry, 1, -1);
  _exit(0);
}

static void wait_until_asleep(pid_t pid) {
  char path[64], state = '?';
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  for (int times = 0; times < 3; times = state == 'S' ? times + 1 : 0) {
    FILE* file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &state) != 1) _exit(1);
    fclose(file);
    subject_sleep_ms(1);
  }
}

int main(void) {
  SUBJECT_NEED(openpty(&waited[0], &waited[1], NULL, NULL, NULL) == 0 &&
               openpty(&held[0], &held[1], NULL, NULL, NULL) == 0);
  const pid_t parent = fork();
  SUBJECT_NEED(parent >= 0);
  if (parent == 0) {
    const pid_t outside = fork();
    if (outside == 0) read_outside();
    if (outside > 0) wait_until_asleep(outside);
    _exit(outside > 0 ? 0 : 1);
  }
  int status = -1;
  SUBJECT_NEED(waitpid(parent, &status, 0) == parent && status == 0);
  write_text(waited[0], "beg");
  write_text(held[0], "a line\r");
  struct pollfd entry = {held[1], POLLIN, 0};
  SUBJECT_NEED(poll(&entry, 1, 2000) == 1);
  subject_ready();
  write_text(waited[0], "un\r");
  for (int i = 0; i < 2000 && access("has_read", F_OK) != 0; ++i) subject_sleep_ms(1);
  expect_content("has_read", "begun\n");
  expect_read(held[1], "a line\n");
  subject_ok();
}
