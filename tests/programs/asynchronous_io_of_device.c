// Blocks of a file are read into memory past all caches (O_DIRECT) and asynchronously, without a pause: what the device
// writes for requests that were under way when it was looked at must not be missed.
// subject: keeps-running 0.2
// subject: checkpoint-options --incremental
#include <sys/mman.h>

#include "asynchronous_io.h"

enum { BLOCK = 8 << 10, BLOCKS = 64, PLACES = 4096, AT_ONCE = 4 };  // more memory than is read at once

static int expected[PLACES];  // the block that is there; -1: nothing
static char* places;

static unsigned next_random(void) {
  static unsigned state = 1;
  return state = state * 1664525 + 1013904223;
}

static void check_place(unsigned place) {
  if (expected[place] < 0) return;
  const int* words = (const int*)(places + (size_t)place * BLOCK);
  for (size_t i = 0; i < BLOCK / sizeof(int); ++i)
    SUBJECT_CHECK(words[i] == expected[place] * 100000 + (int)i, "place %u, word %zu: %d", place, i, words[i]);
}

static int make_file(void) {
  const int file = open("blocks", O_RDWR | O_CREAT | O_TRUNC, 0600);
  static int block[BLOCK / sizeof(int)];
  for (int number = 0; number < BLOCKS; ++number) {
    for (size_t i = 0; i < BLOCK / sizeof(int); ++i) block[i] = number * 100000 + (int)i;
    SUBJECT_NEED(write(file, block, sizeof block) == sizeof block);
  }
  SUBJECT_NEED(fsync(file) == 0 && close(file) == 0);
  const int direct = open("blocks", O_RDONLY | O_DIRECT);
  if (direct < 0) subject_skip("this file system has no O_DIRECT");
  return direct;
}

int main(void) {
  const int file = make_file();
  places = mmap(NULL, (size_t)PLACES * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(places != MAP_FAILED);
  memset(places, 1, (size_t)PLACES * BLOCK);
  const aio_context_t context = aio_make(AT_ONCE);
  for (int i = 0; i < PLACES; ++i) expected[i] = -1;
  static struct iocb requests[PLACES];
  subject_announce();
  static int busy[PLACES];
  int under_way = 0;
  while (!subject_may_go() || under_way > 0) {
    while (under_way < AT_ONCE && !subject_may_go()) {
      const unsigned place = next_random() / 7 % PLACES, block = next_random() / 7 % BLOCKS;
      if (busy[place]) continue;
      requests[place] = aio_read(file, places + (size_t)place * BLOCK, BLOCK, (long long)block * BLOCK, place);
      expected[place] = (int)block;
      busy[place] = 1;
      SUBJECT_CHECK(aio_submit(context, &requests[place]));
      ++under_way;
    }
    if (under_way == 0) continue;  // it may go just now
    struct io_event events[AT_ONCE];
    const long taken = aio_take(context, 1, AT_ONCE, events, NULL);
    SUBJECT_CHECK(taken > 0, "io_getevents: %ld", taken);
    for (long i = 0; i < taken; ++i) {
      SUBJECT_CHECK(events[i].res == BLOCK, "a read gave %lld", events[i].res);
      busy[events[i].data] = 0;
    }
    under_way -= (int)taken;
  }
  for (unsigned i = 0; i < PLACES; ++i) check_place(i);
  subject_ok();
}
