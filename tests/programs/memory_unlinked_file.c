// Files that are mapped and since unlinked or replaced, open no more: private and shared mappings keep their content,
// mappings of one file stay mappings of one file, and the new file at the old path is left alone.
#include "memory.h"

#define PAGES 8

struct views {
  char *clean, *dirty, *shared, *shared_part, *hidden;
};

static struct views map_views(const char* name, uint64_t seed) {
  const int file = memory_file(name, PAGES * PAGE, seed);
  struct views views;
  views.clean = memory_map(PAGES * PAGE, PROT_READ, MAP_PRIVATE, file, 0);
  views.dirty = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  memory_fill(views.dirty + 2 * PAGE, PAGE, seed + 1);
  views.shared = memory_map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  views.shared_part = memory_map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 2 * PAGE);
  // The only shared mapping of its part, and not readable.
  views.hidden = memory_map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 6 * PAGE);
  SUBJECT_NEED(mprotect(views.hidden, 2 * PAGE, PROT_NONE) == 0 && close(file) == 0);
  return views;
}

static void check_words(const char* place, size_t first_page, size_t pages, uint64_t seed, const char* what) {
  for (size_t i = 0; i < pages * PAGE / 8; ++i) {
    SUBJECT_CHECK(((const uint64_t*)place)[i] == memory_word(seed, first_page * PAGE / 8 + i), "%s: word %zu", what, i);
  }
}

static void check_views(struct views views, uint64_t seed) {
  check_words(views.clean, 0, PAGES, seed, "clean");
  check_words(views.dirty, 0, 2, seed, "dirty, before");
  check_words(views.dirty + 2 * PAGE, 0, 1, seed + 1, "dirty");
  check_words(views.dirty + 3 * PAGE, 3, PAGES - 3, seed, "dirty, behind");
  check_words(views.shared, 0, 4, seed, "shared");
  check_words(views.shared_part, 2, 2, seed, "part");
  memory_fill(views.shared_part, PAGE, seed + 2);
  MEMORY_CHECK(views.shared + 2 * PAGE, PAGE, seed + 2);
  SUBJECT_CHECK(memory_read_signal(views.hidden) == SIGSEGV &&
                mprotect(views.hidden, 2 * PAGE, PROT_READ | PROT_WRITE) == 0);
  SUBJECT_CHECK(memory_read_signal(views.hidden) == 0, "the file is shorter now");
  check_words(views.hidden, 6, 2, seed, "PROT_NONE");
}

struct both {
  char *shared, *private, *private_above;
};

// All of a file shared, and private below and above that.
static struct both map_both(void) {
  const int file = memory_file("mapped-both", PAGES * PAGE, 50);
  char* const room = memory_map(3 * PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct both both = {room + PAGES * PAGE, room, room + 2 * PAGES * PAGE};
  for (size_t i = 0; i < 3; ++i) {
    SUBJECT_NEED(mmap(room + i * PAGES * PAGE, PAGES * PAGE, PROT_READ | PROT_WRITE,
                      MAP_FIXED | (i == 1 ? MAP_SHARED : MAP_PRIVATE), file, 0) != MAP_FAILED);
  }
  memory_fill(both.private + PAGE, PAGE, 51);
  SUBJECT_NEED(unlink("mapped-both") == 0 && close(file) == 0);
  return both;
}

static void check_both(struct both both) {
  check_words(both.shared, 0, PAGES, 50, "shared");
  check_words(both.private + PAGE, 0, 1, 51, "private, written");
  both.shared[3 * PAGE] = 's';
  SUBJECT_CHECK(both.private[3 * PAGE] == 's' && both.private_above[3 * PAGE] == 's', "they map different files");
  SUBJECT_CHECK(madvise(both.private + PAGE, PAGE, MADV_DONTNEED) == 0);
  check_words(both.private + PAGE, 1, 1, 50, "private, its writing dropped");
  check_words(both.private_above + PAGE, 1, 1, 50, "private, above");
}

int main(void) {
  const struct both both = map_both();
  const struct views unlinked = map_views("mapped-unlinked", 10);
  SUBJECT_NEED(unlink("mapped-unlinked") == 0);
  const struct views replaced = map_views("mapped-replaced", 20);
  // Unlinked, but open.
  const int kept_open = memory_file("mapped-open", PAGES * PAGE, 40);
  char* const of_open = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, kept_open, 0);
  memory_fill(of_open + PAGE, PAGE, 41);
  SUBJECT_NEED(unlink("mapped-open") == 0);
  const int other = memory_file("mapped-other", PAGES * PAGE, 30);
  SUBJECT_NEED(rename("mapped-other", "mapped-replaced") == 0);
  char* const newer = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
  SUBJECT_NEED(close(other) == 0);

  subject_ready();

  check_both(both);
  check_views(unlinked, 10);
  check_views(replaced, 20);
  check_words(of_open, 0, 1, 40, "open");
  check_words(of_open + PAGE, 0, 1, 41, "open, written");
  check_words(of_open + 2 * PAGE, 2, PAGES - 2, 40, "open, behind");
  SUBJECT_CHECK(madvise(of_open + PAGE, PAGE, MADV_DONTNEED) == 0);
  check_words(of_open + PAGE, 1, 1, 40, "open, its writing dropped");
  SUBJECT_CHECK(pwrite(kept_open, "new", 3, 0) == 3 && memcmp(of_open, "new", 3) == 0, "the file is another one");
  MEMORY_CHECK(newer, PAGES * PAGE, 30);
  newer[0] = 'n';
  const int file = open("mapped-replaced", O_RDONLY | O_CLOEXEC);
  char byte = 0;
  SUBJECT_CHECK(file >= 0 && pread(file, &byte, 1, 0) == 1 && byte == 'n', "the file that took the old one's place");
  SUBJECT_CHECK(access("mapped-unlinked", F_OK) != 0, "the unlinked file is back");
  subject_ok();
}
