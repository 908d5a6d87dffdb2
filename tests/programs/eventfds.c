// eventfd(2): counts, semaphores, the highest count, flags, threads that wait for one.
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/eventfd.h>

#include "descriptors.h"

static int awaited, full;
static _Atomic pid_t ids[2];

static void expect_value(int file, uint64_t wanted) {
  uint64_t value = 0;
  SUBJECT_CHECK(read(file, &value, sizeof value) == sizeof value && value == wanted, "%llu instead of %llu",
                (unsigned long long)value, (unsigned long long)wanted);
}

static void* wait_for_semaphore(void* unused) {
  (void)unused;
  ids[0] = subject_thread_id();
  expect_value(awaited, 1);
  return NULL;
}

static void* wait_for_room(void* unused) {
  (void)unused;
  ids[1] = subject_thread_id();
  SUBJECT_CHECK(eventfd_write(full, 5) == 0);
  return NULL;
}

int main(void) {
  const int counter = eventfd(41, EFD_CLOEXEC);
  const int semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
  const int empty = eventfd(0, EFD_NONBLOCK);
  awaited = eventfd(0, EFD_SEMAPHORE);
  full = eventfd(0, 0);
  SUBJECT_NEED(counter >= 0 && semaphore >= 0 && empty >= 0 && awaited >= 0 && full >= 0);
  SUBJECT_NEED(eventfd_write(counter, 1) == 0 && eventfd_write(full, UINT64_MAX - 1) == 0);
  const int duplicate = dup(counter);
  pthread_t threads[2];
  SUBJECT_NEED(pthread_create(&threads[0], NULL, wait_for_semaphore, NULL) == 0 &&
               pthread_create(&threads[1], NULL, wait_for_room, NULL) == 0);
  for (int i = 0; i < 2; i++) {
    while (ids[i] == 0) subject_sleep_ms(1);
    subject_wait_until_blocked(ids[i]);
  }

  subject_ready();

  SUBJECT_CHECK(fcntl(counter, F_GETFD) == FD_CLOEXEC && fcntl(semaphore, F_GETFD) == 0 &&
                same_description(counter, duplicate));
  SUBJECT_CHECK((fcntl(counter, F_GETFL) & O_NONBLOCK) == 0 && (fcntl(empty, F_GETFL) & O_NONBLOCK) != 0);
  SUBJECT_CHECK(eventfd_write(duplicate, 8) == 0);
  expect_value(counter, 50);
  for (int i = 0; i < 3; i++) expect_value(semaphore, 1);
  uint64_t value;
  expect_error(read(semaphore, &value, sizeof value), EAGAIN, "reading an empty semaphore");
  expect_error(read(empty, &value, sizeof value), EAGAIN, "reading an empty eventfd");
  for (int i = 0; i < 2; i++) SUBJECT_CHECK(pthread_tryjoin_np(threads[i], NULL) == EBUSY, "thread %d did not wait", i);
  struct pollfd entry = {full, POLLIN | POLLOUT, 0};
  SUBJECT_CHECK(poll(&entry, 1, 0) == 1 && entry.revents == POLLIN);
  expect_value(full, UINT64_MAX - 1);
  SUBJECT_CHECK(eventfd_write(awaited, 2) == 0);
  for (int i = 0; i < 2; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  expect_value(full, 5);
  expect_value(awaited, 1);
  subject_ok();
}
