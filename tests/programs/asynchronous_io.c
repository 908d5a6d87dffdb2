// Contexts of asynchronous I/O: unused, with unread answers around the end of the ring, full of them, and one for whose
// answers a thread waits. Both processors have a share of the second one's room.
#include "asynchronous_io.h"

#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>

enum { UNREAD = 40, ASKED = 300 };

static struct iocb requests[ASKED];
static struct io_event events[4096];
static aio_context_t awaited;

static void ask(aio_context_t context, int ready, int first, int count) {
  for (int i = first; i < first + count; ++i) {
    requests[i % ASKED] = aio_poll(ready, (__u64)i);
    SUBJECT_NEED(aio_submit(context, &requests[i % ASKED]));
  }
}

static void read_some(aio_context_t context, long count) {
  SUBJECT_NEED(aio_take(context, count, count, events, NULL) == count);
}

static int move_to(int processor) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processor, &one);
  return sched_setaffinity(0, sizeof one, &one) == 0;
}

static void* use_everywhere(void* argument) {
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (!move_to(processor)) continue;
    ask(*(aio_context_t*)argument, (int)requests[0].aio_fildes, 0, 200);
    read_some(*(aio_context_t*)argument, 200);
  }
  return NULL;
}

static void* await(void* unused) {
  (void)unused;
  const struct timespec long_time = {1000, 0};
  for (int i = 0; i < 2; ++i) {
    struct io_event event = {0};
    SUBJECT_CHECK(aio_take(awaited, 1, 1, &event, i == 0 ? NULL : &long_time) == 1);
    SUBJECT_CHECK(event.data == (__u64)(1000 + i), "another's answer: %llu", event.data);
  }
  return NULL;
}

// Fills it. Its room is on all processors that have used it.
static long room_of(aio_context_t context, int ready) {
  struct iocb request = aio_poll(ready, 0);
  cpu_set_t before;
  SUBJECT_NEED(sched_getaffinity(0, sizeof before, &before) == 0);
  long room = 0;
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (!move_to(processor)) continue;
    while (aio_submit(context, &request)) ++room;
  }
  SUBJECT_NEED(sched_setaffinity(0, sizeof before, &before) == 0);
  return room;
}

static void check_answers(aio_context_t context, int first, int count) {
  const struct timespec none = {0, 0};
  SUBJECT_CHECK(aio_take(context, 0, 4096, events, &none) == count);
  for (int i = 0; i < count; ++i) {
    SUBJECT_CHECK(events[i].data == (__u64)(first + i) && events[i].res == 1, "answer %d: %llu", i, events[i].data);
    SUBJECT_CHECK(events[i].obj == (__u64)(uintptr_t)&requests[(first + i) % ASKED], "answer %d is another's", i);
  }
}

int main(void) {
  const int ready = eventfd(1, 0), later = eventfd(0, 0);
  const aio_context_t unused = aio_make(4), used = aio_make(ASKED), full = aio_make(1);
  awaited = aio_make(1);
  const long room = room_of(aio_make(4), ready), room_used = room_of(aio_make(ASKED), ready);
  requests[0] = aio_poll(ready, 0);
  pthread_t thread;
  SUBJECT_NEED(pthread_create(&thread, NULL, use_everywhere, (void*)&used) == 0 && pthread_join(thread, NULL) == 0);
  const unsigned* const ring = (const unsigned*)used;  // struct aio_ring: id, slots, head, tail
  while (ring[3] != ring[1] - UNREAD / 2) {            // it begins anew among the answers
    ask(used, ready, 0, 1);
    read_some(used, 1);
  }
  ask(used, ready, 5000, UNREAD);
  SUBJECT_NEED(room_of(full, ready) > 0);
  SUBJECT_NEED(pthread_create(&thread, NULL, await, NULL) == 0);
  subject_wait_until_others_blocked();
  subject_ready();

  check_answers(used, 5000, UNREAD);
  SUBJECT_CHECK(room_of(used, ready) == room_used, "its room has changed");
  SUBJECT_CHECK(room_of(unused, ready) == room, "the unused one's room has changed");
  SUBJECT_CHECK(room_of(full, ready) == 0, "the full one had room");
  const struct timespec none = {0, 0};
  const long of_full = aio_take(full, 0, 4096, events, &none);
  SUBJECT_CHECK(of_full > 0 && room_of(full, ready) == of_full, "it had %ld answers", of_full);
  for (int i = 0; i < 2; ++i) {
    struct iocb request = aio_poll(later, (__u64)(1000 + i));
    SUBJECT_CHECK(aio_submit(awaited, &request));
    SUBJECT_CHECK(write(later, &(uint64_t){1}, sizeof(uint64_t)) == sizeof(uint64_t));
    subject_sleep_ms(20);
  }
  SUBJECT_CHECK(pthread_join(thread, NULL) == 0);
  SUBJECT_CHECK(syscall(SYS_io_destroy, unused) == 0 && syscall(SYS_io_destroy, used) == 0);
  subject_ok();
}
