// POSIX message queues: with a name and unlinked, with messages of several priorities and without, full, opened more
// than once, opened for writing alone, shared with a child that waits for a message.
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

static void expect(mqd_t queue, const char* text, unsigned expected_priority) {
  char got[100];
  unsigned priority = 0;
  const ssize_t size = mq_receive(queue, got, sizeof got, &priority);
  SUBJECT_CHECK(size == (ssize_t)strlen(text) && memcmp(got, text, strlen(text)) == 0 && priority == expected_priority,
                "%zd bytes of priority %u instead of '%s' of %u", size, priority, text, expected_priority);
}

static void expect_empty(mqd_t queue) {
  char got[100];
  SUBJECT_CHECK(mq_receive(queue, got, sizeof got, NULL) < 0 && errno == EAGAIN);
}

// More than a write at a time could tell apart, empty ones among them, in an order that is not that of their priority.
static void fill(mqd_t queue) {
  SUBJECT_NEED(mq_send(queue, "low", 3, 1) == 0 && mq_send(queue, "first", 5, 9) == 0);
  SUBJECT_NEED(mq_send(queue, "second", 6, 9) == 0 && mq_send(queue, "", 0, 32767) == 0);
  SUBJECT_NEED(mq_send(queue, "third", 5, 9) == 0);
}

static void expect_filled(mqd_t queue) {
  expect(queue, "", 32767);
  expect(queue, "first", 9);
  expect(queue, "second", 9);
  expect(queue, "third", 9);
  expect(queue, "low", 1);
}

int main(void) {
  char name[64], last[64], filled_name[64], written_name[64];
  snprintf(name, sizeof name, "/subject-%d-queue", (int)getpid());
  snprintf(last, sizeof last, "/subject-%d-last", (int)getpid());
  snprintf(filled_name, sizeof filled_name, "/subject-%d-filled", (int)getpid());
  snprintf(written_name, sizeof written_name, "/subject-%d-written", (int)getpid());
  const mqd_t queue = make(name, O_RDWR, 4);
  const mqd_t writer = mq_open(name, O_WRONLY | O_NONBLOCK);
  const mqd_t nameless = make(last, O_RDWR | O_NONBLOCK, 3);
  SUBJECT_NEED(writer >= 0 && mq_unlink(last) == 0);
  // With a name: full, and opened for reading and for writing.
  const mqd_t filled = make(filled_name, O_WRONLY | O_NONBLOCK, 5);
  const mqd_t filled_reader = mq_open(filled_name, O_RDONLY | O_NONBLOCK);
  // Without one.
  const mqd_t written = make(written_name, O_WRONLY | O_NONBLOCK, 8);
  const mqd_t written_reader = mq_open(written_name, O_RDONLY | O_NONBLOCK);
  SUBJECT_NEED(filled_reader >= 0 && written_reader >= 0 && mq_unlink(written_name) == 0);
  fill(filled);
  fill(written);
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
  SUBJECT_CHECK(fstat(written, &status) == 0 && (status.st_mode & 0777) == 0640, "%o", status.st_mode);
  char text[100];
  SUBJECT_CHECK(mq_receive(writer, text, sizeof text, NULL) < 0 && errno == EBADF);
  expect_empty(nameless);
  SUBJECT_CHECK(mq_send(filled, "more", 4, 1) < 0 && errno == EAGAIN);
  expect_filled(filled_reader);
  expect_empty(filled_reader);
  SUBJECT_CHECK(mq_send(written, "more", 4, 1) == 0);
  SUBJECT_CHECK(mq_getattr(written_reader, &attributes) == 0 && attributes.mq_curmsgs == 6, "%ld",
                attributes.mq_curmsgs);
  expect(written_reader, "", 32767);
  SUBJECT_CHECK(mq_unlink(filled_name) == 0);
  SUBJECT_CHECK(mq_send(writer, "hello", 5, 7) == 0);
  int ended = 0;
  SUBJECT_CHECK(waitpid(child, &ended, 0) == child && ended == 0, "%#x", (unsigned)ended);
  SUBJECT_CHECK(mq_unlink(name) == 0);
  subject_ok();
}
