// Guard pages (MADV_GUARD_INSTALL, Linux 6.13; in file and shared mappings 6.15): there after the restart in every kind
// of area, and what a shared mapping holds below them comes to light again when they are removed.
#include "memory.h"

#define PAGES 16

// Pages 3-4 and the last one.
static bool install(char* place) {
  return madvise(place + 3 * PAGE, 2 * PAGE, MADV_GUARD_INSTALL) == 0 &&
         madvise(place + (PAGES - 1) * PAGE, PAGE, MADV_GUARD_INSTALL) == 0;
}

static bool is_guard(size_t page) { return page == 3 || page == 4 || page == PAGES - 1; }

static void check_guards(char* place, const char* what) {
  for (size_t page = 0; page < PAGES; ++page) {
    const int number = memory_read_signal(place + page * PAGE);
    SUBJECT_CHECK(number == (is_guard(page) ? SIGSEGV : 0), "%s: page %zu raises %d", what, page, number);
  }
}

// `seed`: of what is below the guards; 0 for zeros.
static void check_content(char* place, const char* what, uint64_t seed) {
  for (size_t page = 0; page < PAGES; ++page) {
    if (is_guard(page)) continue;
    for (size_t i = page * PAGE / 8; i < (page + 1) * PAGE / 8; ++i) {
      SUBJECT_CHECK(((uint64_t*)place)[i] == memory_word(1, i), "%s: word %zu of page %zu", what, i, page);
    }
  }
  SUBJECT_CHECK(madvise(place, PAGES * PAGE, MADV_GUARD_REMOVE) == 0);
  for (size_t i = 3 * PAGE / 8; i < 5 * PAGE / 8; ++i) {
    const uint64_t wanted = seed == 0 ? 0 : memory_word(seed, i);
    SUBJECT_CHECK(((uint64_t*)place)[i] == wanted, "%s: below the guard, word %zu is %#lx", what, i,
                  ((uint64_t*)place)[i]);
  }
}

static char* filled(int flags, int file) {
  char* const place = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, flags, file, 0);
  memory_fill(place, PAGES * PAGE, 1);
  return place;
}

int main(void) {
  char* const private_memory = filled(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (!install(private_memory)) subject_skip("this kernel has no guard pages");
  char* const shared = filled(MAP_SHARED | MAP_ANONYMOUS, -1);
  if (!install(shared)) subject_skip("this kernel has no guard pages in shared memory");
  // Of two views of one object only one has guards.
  char* const seen = filled(MAP_SHARED | MAP_ANONYMOUS, -1);
  char* const seen_too = (char*)mremap(seen, 0, PAGES * PAGE, MREMAP_MAYMOVE);
  SUBJECT_NEED(seen_too != MAP_FAILED && install(seen));
  char* const untouched = memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(install(untouched));
  char* const hidden = filled(MAP_SHARED | MAP_ANONYMOUS, -1);
  SUBJECT_NEED(install(hidden) && mprotect(hidden, PAGES * PAGE, PROT_NONE) == 0);
  int file = memory_file("guarded", PAGES * PAGE, 1);
  char* const shared_file = filled(MAP_SHARED, file);
  char* const private_file = filled(MAP_PRIVATE, file);
  SUBJECT_NEED(install(shared_file) && install(private_file) && close(file) == 0);
  const int memfd = memfd_create("guarded", MFD_CLOEXEC);
  SUBJECT_NEED(memfd >= 0 && ftruncate(memfd, PAGES * PAGE) == 0);
  char* const memory_file_view = filled(MAP_SHARED, memfd);
  SUBJECT_NEED(install(memory_file_view));
  file = memory_file("guarded-gone", PAGES * PAGE, 1);
  char* const gone_shared = filled(MAP_SHARED, file);
  char* const gone_private = filled(MAP_PRIVATE, file);
  SUBJECT_NEED(install(gone_shared) && install(gone_private) && unlink("guarded-gone") == 0);

  subject_ready();

  check_guards(private_memory, "private memory");
  check_guards(shared, "shared memory");
  check_guards(seen, "one view");
  SUBJECT_CHECK(memory_read_signal(seen_too + 3 * PAGE) == 0, "the other view has the guards, too");
  check_guards(untouched, "untouched shared memory");
  SUBJECT_CHECK(mprotect(hidden, PAGES * PAGE, PROT_READ | PROT_WRITE) == 0);
  check_guards(hidden, "PROT_NONE shared memory");
  check_guards(shared_file, "shared file");
  check_guards(private_file, "private file");
  check_guards(memory_file_view, "memfd");
  check_guards(gone_shared, "unlinked shared file");
  check_guards(gone_private, "unlinked private file");
  SUBJECT_CHECK(memory_is_zero(untouched, 3 * PAGE) && madvise(untouched, PAGES * PAGE, MADV_GUARD_REMOVE) == 0);
  SUBJECT_CHECK(memory_is_zero(untouched, PAGES * PAGE));
  check_content(private_memory, "private memory", 0);
  check_content(shared, "shared memory", 1);
  check_content(seen, "one view", 1);
  MEMORY_CHECK(seen_too, PAGES * PAGE, 1);
  check_content(hidden, "PROT_NONE shared memory", 1);
  check_content(shared_file, "shared file", 1);
  check_content(private_file, "private file", 1);
  check_content(memory_file_view, "memfd", 1);
  check_content(gone_shared, "unlinked shared file", 1);
  subject_ok();
}
