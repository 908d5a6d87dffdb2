// Areas of every protection: private, of a file, and shared. What cannot be read, written or executed has its content
// all the same.
#include "memory.h"

#define PAGES 3
#define KINDS 4

static const char code[] = {(char)0xb8, 42, 0, 0, 0, (char)0xc3};  // mov $42,%eax; ret

static char* map_kind(int kind, int file) {
  const int flags[KINDS] = {MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED | MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED};
  return memory_map(PAGES * PAGE, PROT_READ | PROT_WRITE, flags[kind], kind < 2 ? -1 : file, 0);
}

static void check_area(char* place, int kind, int protection, uint64_t seed) {
  const struct memory_area area = memory_area_of(place + PAGE);
  char wanted[5] = "---p";
  if (protection & PROT_READ) wanted[0] = 'r';
  if (protection & PROT_WRITE) wanted[1] = 'w';
  if (protection & PROT_EXEC) wanted[2] = 'x';
  if (kind % 2 != 0) wanted[3] = 's';
  SUBJECT_CHECK(strcmp(area.permissions, wanted) == 0, "kind %d: %s instead of %s", kind, area.permissions, wanted);
  if (protection == PROT_NONE) SUBJECT_CHECK(memory_read_signal(place) == SIGSEGV);
  if (protection == PROT_READ) SUBJECT_CHECK(memory_write_signal(place) == SIGSEGV);
  if (protection & PROT_EXEC) {
    int (*const function)(void) = (int (*)(void))(void*)(place + 2 * PAGE);
    SUBJECT_CHECK(function() == 42);
  }
  SUBJECT_CHECK(mprotect(place, PAGES * PAGE, PROT_READ | PROT_WRITE) == 0);
  SUBJECT_CHECK(memory_differs(place, 2 * PAGE, seed) < 0, "kind %d, protection %d: the content is another", kind,
                protection);
  SUBJECT_CHECK(memcmp(place + 2 * PAGE, code, sizeof code) == 0);
  memory_fill(place, PAGES * PAGE, 1);
}

int main(void) {
  char* places[KINDS][8];
  for (int kind = 0; kind < KINDS; ++kind) {
    for (int protection = 0; protection < 8; ++protection) {
      char name[32];
      snprintf(name, sizeof name, "protections-%d-%d", kind, protection);
      const int file = kind < 2 ? -1 : memory_file(name, PAGES * PAGE, 0);
      char* const place = places[kind][protection] = map_kind(kind, file);
      if (file >= 0) close(file);
      memory_fill(place, 2 * PAGE, (uint64_t)(kind * 8 + protection));
      memcpy(place + 2 * PAGE, code, sizeof code);
      SUBJECT_NEED(mprotect(place, PAGES * PAGE, protection) == 0);
    }
  }
  // Page by page in one area.
  char* const mixed = memory_anonymous(64 * PAGE);
  memory_fill(mixed, 64 * PAGE, 100);
  for (int page = 0; page < 64; ++page) SUBJECT_NEED(mprotect(mixed + (size_t)page * PAGE, PAGE, page % 8) == 0);

  subject_ready();

  for (int kind = 0; kind < KINDS; ++kind) {
    for (int protection = 0; protection < 8; ++protection) {
      check_area(places[kind][protection], kind, protection, (uint64_t)(kind * 8 + protection));
    }
  }
  for (size_t page = 0; page < 64; ++page) {
    const char* const shown = memory_area_of(mixed + page * PAGE).permissions;
    const int protection = (int)(page % 8);
    SUBJECT_CHECK((shown[0] == 'r') == ((protection & PROT_READ) != 0) &&
                      (shown[1] == 'w') == ((protection & PROT_WRITE) != 0) &&
                      (shown[2] == 'x') == ((protection & PROT_EXEC) != 0),
                  "page %zu is %s", page, shown);
  }
  SUBJECT_CHECK(mprotect(mixed, 64 * PAGE, PROT_READ) == 0);
  MEMORY_CHECK(mixed, 64 * PAGE, 100);
  subject_ok();
}
