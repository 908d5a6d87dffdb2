// A random history of mmap, mprotect, mremap, madvise and munmap, of private and shared memory, against a record of
// what every page must hold. Another history in each run; MEMORY_SEED repeats one.
#include "memory.h"

#define PAGES 512
#define STEPS 3000
#define FIRST ((char*)0x200000000000)

// What the program knows of each page of the arena.
struct page {
  bool mapped, shared;
  int protection;
  uint64_t seed;  // of its content; 0: zeros
};

static struct page* pages;
static uint64_t state, next_seed = 1;

static uint64_t any(uint64_t below) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state % below;
}

static char* place_of(size_t page) { return FIRST + page * PAGE; }

static void map_pages(size_t first, size_t count, bool shared) {
  const int flags = MAP_ANONYMOUS | MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE) | (any(4) == 0 ? MAP_NORESERVE : 0);
  SUBJECT_NEED(mmap(place_of(first), count * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) == place_of(first));
  for (size_t i = first; i < first + count; ++i) pages[i] = (struct page){true, shared, PROT_READ | PROT_WRITE, 0};
}

static void unmap_pages(size_t first, size_t count) {
  SUBJECT_NEED(munmap(place_of(first), count * PAGE) == 0);
  for (size_t i = first; i < first + count; ++i) pages[i].mapped = false;
}

static void write_pages(size_t first, size_t count) {
  for (size_t i = first; i < first + count; ++i) {
    if (!pages[i].mapped || pages[i].protection != (PROT_READ | PROT_WRITE)) continue;
    pages[i].seed = any(5) == 0 ? 0 : next_seed++;
    if (pages[i].seed == 0) {
      memset(place_of(i), 0, PAGE);
    } else {
      memory_fill(place_of(i), PAGE, pages[i].seed);
    }
  }
}

static void protect_pages(size_t first, size_t count) {
  const int kinds[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};
  const int protection = kinds[any(5)];
  for (size_t i = first; i < first + count; ++i) {
    if (!pages[i].mapped) continue;
    SUBJECT_NEED(mprotect(place_of(i), PAGE, protection) == 0);
    pages[i].protection = protection;
  }
}

static void advise_pages(size_t first, size_t count) {
  const int kinds[] = {MADV_DONTNEED,   MADV_DONTDUMP, MADV_DODUMP, MADV_DONTFORK,
                       MADV_NOHUGEPAGE, MADV_RANDOM,   MADV_COLD};
  const int advice = kinds[any(7)];
  for (size_t i = first; i < first + count; ++i) {
    if (!pages[i].mapped || madvise(place_of(i), PAGE, advice) != 0) continue;
    if (advice == MADV_DONTNEED && !pages[i].shared) pages[i].seed = 0;
  }
}

// Pages of one area move elsewhere, by way of which the kernel splits and joins areas.
static void move_pages(size_t first, size_t to) {
  if (first == to || !pages[first].mapped) return;
  SUBJECT_NEED(mremap(place_of(first), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place_of(to)) == place_of(to));
  pages[to] = pages[first];
  pages[first].mapped = false;
}

static void step(void) {
  const size_t count = 1 + any(16);
  const size_t first = any(PAGES - count);
  switch (any(10)) {
    case 0:
      return map_pages(first, count, false);
    case 1:
      return map_pages(first, count, true);
    case 2:
      return unmap_pages(first, 1 + any(count));
    case 3:
    case 4:
      return protect_pages(first, count);
    case 5:
      return advise_pages(first, count);
    case 6:
      return move_pages(first, any(PAGES));
    default:
      return write_pages(first, count);
  }
}

static void check_page(size_t page) {
  struct page* const wanted = &pages[page];
  char* const place = place_of(page);
  unsigned char resident;
  const bool mapped = mincore(place, PAGE, &resident) == 0;
  SUBJECT_CHECK(mapped == wanted->mapped, "page %zu is mapped: %d", page, mapped);
  if (!mapped) return;
  const int can_read = (wanted->protection & PROT_READ) != 0, can_write = (wanted->protection & PROT_WRITE) != 0;
  SUBJECT_CHECK(
      (memory_read_signal(place) == 0) == can_read && (memory_write_signal(place) == 0) == (can_write && can_read),
      "protection of page %zu", page);
  SUBJECT_CHECK(mprotect(place, PAGE, PROT_READ | PROT_WRITE) == 0);
  const bool right = wanted->seed == 0 ? memory_is_zero(place, PAGE) : memory_differs(place, PAGE, wanted->seed) < 0;
  SUBJECT_CHECK(right, "content of page %zu (%s, protection %d)", page, wanted->shared ? "shared" : "private",
                wanted->protection);
}

int main(void) {
  const char* const given = getenv("MEMORY_SEED");
  state = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 100003u + (uint64_t)getpid();
  printf("MEMORY_SEED=%llu\n", (unsigned long long)state);
  fflush(stdout);
  pages = (struct page*)calloc(PAGES, sizeof *pages);
  for (int i = 0; i < STEPS; ++i) step();

  subject_ready();

  for (size_t page = 0; page < PAGES; ++page) check_page(page);
  subject_ok();
}
