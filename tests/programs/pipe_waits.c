// Threads that wait for a pipe over the checkpoint: one for data, one for room in a full pipe, one in the middle of a
// large write, one in splice(2). Every byte arrives once and in its order.
#include <pthread.h>

#include "descriptors.h"

enum { kLarge = 1000000, kRoom = 65536 };

static int for_data[2], full[2], large[2], from[2], to[2];
static _Atomic pid_t ids[4];
static char text[4097];

static void* read_one(void* unused) {
  (void)unused;
  ids[0] = subject_thread_id();
  expect_read(for_data[0], "at last");
  return NULL;
}

static void* write_one(void* unused) {
  (void)unused;
  ids[1] = subject_thread_id();
  SUBJECT_CHECK(write(full[1], text, 4096) == 4096);  // at most PIPE_BUF: all or nothing
  return NULL;
}

// A stop in the middle of a large write ends it with what has been written (as SIGSTOP and SIGCONT do): the rest
// follows.
static void* write_large(void* unused) {
  (void)unused;
  ids[2] = subject_thread_id();
  static unsigned char bytes[kLarge];
  for (int i = 0; i < kLarge; i++) bytes[i] = (unsigned char)(i % 251);
  for (ssize_t done = 0, put; done < kLarge; done += put) {
    put = write(large[1], bytes + done, (size_t)(kLarge - done));
    SUBJECT_CHECK(put > 0, "after %zd bytes", done);
  }
  return NULL;
}

static void* splice_one(void* unused) {
  (void)unused;
  ids[3] = subject_thread_id();
  SUBJECT_CHECK(splice(from[0], NULL, to[1], NULL, 100, 0) == 8);
  return NULL;
}

int main(void) {
  memset(text, 'f', sizeof text - 1);
  SUBJECT_NEED(pipe(for_data) == 0 && pipe(full) == 0 && pipe(large) == 0 && pipe(from) == 0 && pipe(to) == 0);
  for (int i = 0; i < kRoom / 4096; i++) SUBJECT_NEED(write(full[1], text, 4096) == 4096);
  void* (*const calls[4])(void*) = {read_one, write_one, write_large, splice_one};
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) {
    SUBJECT_NEED(pthread_create(&threads[i], NULL, calls[i], NULL) == 0);
    while (ids[i] == 0) subject_sleep_ms(1);
    subject_wait_until_blocked(ids[i]);
  }

  subject_ready();

  for (int i = 0; i < 4; i++) SUBJECT_CHECK(pthread_tryjoin_np(threads[i], NULL) == EBUSY, "thread %d did not wait", i);
  write_text(for_data[1], "at last");
  write_text(from[1], "spliced.");
  char got[4096];
  for (int i = 0; i <= kRoom / 4096; i++) {
    SUBJECT_CHECK(read(full[0], got, sizeof got) == 4096 && memcmp(got, text, sizeof got) == 0, "piece %d", i);
  }
  for (int total = 0; total < kLarge;) {
    const ssize_t bytes = read(large[0], got, sizeof got);
    SUBJECT_CHECK(bytes > 0);
    for (int i = 0; i < bytes; i++, total++) SUBJECT_CHECK((unsigned char)got[i] == total % 251, "byte %d", total);
  }
  for (int i = 0; i < 4; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  expect_read(to[0], "spliced.");
  for (int i = 0; i < 2; i++) {
    const int ends[2] = {large[i], full[i]};
    for (int j = 0; j < 2; j++) fcntl(ends[j], F_SETFL, O_NONBLOCK);
  }
  expect_error(read(large[0], got, 1), EAGAIN, "reading more than was written");
  expect_error(read(full[0], got, 1), EAGAIN, "reading more than was written");
  subject_ok();
}
