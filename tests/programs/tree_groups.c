// Sessions and process groups of a tree: children in groups of their own and of each other, a session with its leader,
// one whose leader is dead, a group whose leader is dead, a child in the session that its parent has left, an orphan.
// All must be where they were; signals to groups reach exactly those that are in them.
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "subject.h"

struct place {
  pid_t pid, parent, group, session;
};

enum { kMost = 16 };
static struct place* places;
static int count;
static int report[2];

static struct place here(void) {
  const struct place place = {getpid(), getppid(), getpgrp(), getsid(0)};
  return place;
}

// A process of the tree: says where it is and waits for its end.
static void stay(void) {
  const struct place place = here();
  if (write(report[1], &place, sizeof place) != sizeof place) _exit(2);
  for (;;) {
    pause();
  }
}

static struct place next(void) {
  struct place place;
  SUBJECT_CHECK(read(report[0], &place, sizeof place) == sizeof place);
  return place;
}

static pid_t child(void) {
  const pid_t pid = fork();
  SUBJECT_NEED(pid >= 0);
  return pid;
}

static void look(pid_t pid, struct place* place) {
  char path[64];
  char text[512] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  SUBJECT_CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0, "process %d is not there", (int)pid);
  close(file);
  const char* end = strrchr(text, ')');
  place->pid = pid;
  SUBJECT_CHECK(end != NULL && sscanf(end + 2, "%*c %d %d %d", &place->parent, &place->group, &place->session) == 3);
}

int main(void) {
  SUBJECT_NEED(pipe(report) == 0);
  SUBJECT_NEED(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
  places = calloc(kMost, sizeof *places);

  if (child() == 0) stay();  // as its parent
  places[count++] = next();
  if (child() == 0) {  // leads a group
    setpgid(0, 0);
    stay();
  }
  places[count++] = next();
  const pid_t group = places[count - 1].pid;
  if (child() == 0) {  // in the group of the one before
    setpgid(0, group);
    stay();
  }
  places[count++] = next();
  if (child() == 0) {  // in a group whose leader is dead
    const pid_t leader = fork();
    if (leader == 0) {
      setpgid(0, 0);
      pause();
    }
    setpgid(leader, leader);
    setpgid(0, leader);
    kill(leader, SIGKILL);
    waitpid(leader, NULL, 0);
    stay();
  }
  places[count++] = next();
  if (child() == 0) {  // leads a session and has a child in the one that it left
    if (fork() == 0) stay();
    setsid();
    if (fork() == 0) stay();
    stay();
  }
  for (int i = 0; i < 3; ++i) places[count++] = next();
  const pid_t middle = child();
  if (middle == 0) {  // an orphan in the session of a dead leader
    setsid();
    if (fork() == 0) {
      while (getppid() == getsid(0)) subject_sleep_ms(1);
      stay();
    }
    _exit(0);
  }
  SUBJECT_NEED(waitpid(middle, NULL, 0) == middle);
  places[count++] = next();
  for (int i = 0; i < count; ++i) look(places[i].pid, &places[i]);

  subject_ready();

  for (int i = 0; i < count; ++i) {
    struct place now;
    look(places[i].pid, &now);
    SUBJECT_CHECK(now.parent == places[i].parent, "%d: parent %d, was %d", i, now.parent, places[i].parent);
    const int of_root = places[i].group == places[0].group;
    SUBJECT_CHECK(of_root ? now.group == getpgrp() : now.group == places[i].group, "%d: group %d, was %d", i, now.group,
                  places[i].group);
    const int in_root = places[i].session == places[0].session;
    SUBJECT_CHECK(in_root ? now.session == getsid(0) : now.session == places[i].session, "%d: session %d, was %d", i,
                  now.session, places[i].session);
  }
  // The group of two is reached as one.
  SUBJECT_CHECK(kill(-group, SIGUSR1) == 0);
  for (int i = 0; i < 2; ++i) {
    int status = 0;
    SUBJECT_CHECK(waitpid(-group, &status, 0) > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
  }
  SUBJECT_CHECK(waitpid(-group, NULL, WNOHANG) == -1 && errno == ECHILD);
  for (int i = 0; i < count; ++i) kill(places[i].pid, SIGKILL);
  while (waitpid(-1, NULL, 0) > 0) {
  }
  subject_ok();
}
