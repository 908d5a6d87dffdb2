// POSIX message queues: empty ones, with a name and unlinked, shared with a child that waits for a message.
#include <mqueue.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "subject.h"

static mqd_t make(const char* name, int flags, long messages) {
  struct mq_attr attributes = {.mq_maxmsg = messages, .mq_msgsize = 100};
  const mqd_t made = mq_open(name, flags | O_CREAT | O_EXCL, 0640, &attributes);
  SUBJECT_NEED(made >= 0, "%s", name);
  return made;
}

int main(void) {
  char name[64], last[64];
  snprintf(name, sizeof name, "/subject-%d-queue", (int)getpid());
  snprintf(last, sizeof last, "/subject-%d-last", (int)getpid());
  const mqd_t queue = make(name, O_RDWR, 4);
  const mqd_t writer = mq_open(name, O_WRONLY | O_NONBLOCK);
  const mqd_t nameless = make(last, O_RDWR | O_NONBLOCK, 3);
  SUBJECT_NEED(writer >= 0 && mq_unlink(last) == 0);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    char text[100];
    unsigned priority = 0;
    _exit(mq_receive(queue, text, sizeof text, &priority) == 5 && priority == 7 ? 0 : 2);
  }
  subject_ready();

  struct mq_attr attributes;
  SUBJECT_CHECK(mq_getattr(nameless, &attributes) == 0 && attributes.mq_maxmsg == 3 && attributes.mq_msgsize == 100 &&
                attributes.mq_flags == O_NONBLOCK && attributes.mq_curmsgs == 0);
  SUBJECT_CHECK(mq_getattr(queue, &attributes) == 0 && attributes.mq_maxmsg == 4 && attributes.mq_flags == 0);
  struct stat status;
  SUBJECT_CHECK(fstat(queue, &status) == 0 && (status.st_mode & 0777) == 0640, "%o", status.st_mode);
  SUBJECT_CHECK(fstat(nameless, &status) == 0 && (status.st_mode & 0777) == 0640, "%o", status.st_mode);
  char text[100];
  SUBJECT_CHECK(mq_receive(writer, text, sizeof text, NULL) < 0 && errno == EBADF);
  SUBJECT_CHECK(mq_receive(nameless, text, sizeof text, NULL) < 0 && errno == EAGAIN);
  SUBJECT_CHECK(mq_send(writer, "hello", 5, 7) == 0);
  int ended = 0;
  SUBJECT_CHECK(waitpid(child, &ended, 0) == child && ended == 0, "%#x", (unsigned)ended);
  SUBJECT_CHECK(mq_unlink(name) == 0);
  subject_ok();
}
