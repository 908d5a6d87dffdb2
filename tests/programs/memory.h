// What the subjects of memory share: patterns that name their place, and what /proc/self/smaps says of an address.
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "subject.h"

#define PAGE ((size_t)4096)

// Newer than the C library's headers: linux/mman.h and asm/unistd.h of Linux 6.13 and 6.10.
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

// --- Content ---

// Every word tells of its place and of `seed`, so that no page is like another and a page in the wrong place is seen.
static inline uint64_t memory_word(uint64_t seed, size_t index) {
  uint64_t value = seed * 0x9e3779b97f4a7c15u + index;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  return (value ^ (value >> 27)) | 1;
}

static inline void memory_fill(void* place, size_t bytes, uint64_t seed) {
  volatile uint64_t* const words = (volatile uint64_t*)place;
  for (size_t i = 0; i < bytes / 8; ++i) words[i] = memory_word(seed, i);
}

// The number of the first word that is another, or -1.
static inline long memory_differs(const void* place, size_t bytes, uint64_t seed) {
  const volatile uint64_t* const words = (const volatile uint64_t*)place;
  for (size_t i = 0; i < bytes / 8; ++i) {
    if (words[i] != memory_word(seed, i)) return (long)i;
  }
  return -1;
}

#define MEMORY_CHECK(place, bytes, seed)                                                                   \
  do {                                                                                                     \
    const long memory_at = memory_differs(place, bytes, seed);                                             \
    SUBJECT_CHECK(memory_at < 0, "%s: word %ld is %#llx", #place, memory_at,                               \
                  (unsigned long long)((const volatile uint64_t*)(place))[memory_at < 0 ? 0 : memory_at]); \
  } while (0)

static inline bool memory_is_zero(const void* place, size_t bytes) {
  const volatile uint64_t* const words = (const volatile uint64_t*)place;
  for (size_t i = 0; i < bytes / 8; ++i) {
    if (words[i] != 0) return false;
  }
  return true;
}

// mmap that must succeed.
static inline char* memory_map(size_t bytes, int protection, int flags, int file, off_t offset) {
  void* const place = mmap(NULL, bytes, protection, flags, file, offset);
  SUBJECT_NEED(place != MAP_FAILED, "mmap of %zu bytes, flags %#x", bytes, flags);
  return (char*)place;
}

static inline char* memory_anonymous(size_t bytes) {
  return memory_map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

// A file in the working directory whose pages hold pattern `seed`, open for reading and writing.
static inline int memory_file(const char* name, size_t bytes, uint64_t seed) {
  const int file = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  SUBJECT_NEED(file >= 0 && ftruncate(file, (off_t)bytes) == 0);
  char* const place = memory_map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  memory_fill(place, bytes, seed);
  SUBJECT_NEED(munmap(place, bytes) == 0);
  return file;
}

// --- Signals ---

static sigjmp_buf memory_return_place;
static volatile sig_atomic_t memory_signal;

static inline void memory_on_signal(int number) {
  memory_signal = number;
  siglongjmp(memory_return_place, 1);
}

// Which signal reading (or writing) one byte raises; 0 for none.
static inline int memory_signal_of(void* place, bool write) {
  struct sigaction action, segv, bus;
  memset(&action, 0, sizeof action);
  action.sa_handler = memory_on_signal;
  sigaction(SIGSEGV, &action, &segv);
  sigaction(SIGBUS, &action, &bus);
  memory_signal = 0;
  if (sigsetjmp(memory_return_place, 1) == 0) {
    volatile char* const byte = (volatile char*)place;
    if (write) {
      *byte = *byte;
    } else {
      (void)*byte;
    }
  }
  sigaction(SIGSEGV, &segv, NULL);
  sigaction(SIGBUS, &bus, NULL);
  return memory_signal;
}

static inline int memory_read_signal(void* place) { return memory_signal_of(place, false); }
static inline int memory_write_signal(void* place) { return memory_signal_of(place, true); }

// Bytes, as RLIMIT_AS counts them (proc_pid_statm(5)).
static inline unsigned long memory_address_space(void) {
  unsigned long pages = 0;
  FILE* const file = fopen("/proc/self/statm", "re");
  SUBJECT_NEED(file != NULL && fscanf(file, "%lu", &pages) == 1 && fclose(file) == 0);
  return pages * PAGE;
}

// --- /proc/self/smaps (proc_pid_smaps(5)) ---

struct memory_area {
  uintptr_t start, end;
  char permissions[5];
  unsigned long long offset;
  unsigned long inode;
  char name[512];
  char flags[256];                       // " rd wr mr mw me "
  long resident, swapped, huge, locked;  // KiB
};

static inline void memory_read_detail(struct memory_area* area, const char* line) {
  if (strncmp(line, "VmFlags:", 8) == 0) {
    snprintf(area->flags, sizeof area->flags, "%.*s ", (int)strcspn(line + 8, "\n"), line + 8);
  } else {
    sscanf(line, "Rss: %ld", &area->resident);
    sscanf(line, "Swap: %ld", &area->swapped);
    sscanf(line, "AnonHugePages: %ld", &area->huge);
    sscanf(line, "Locked: %ld", &area->locked);
  }
}

// The area that holds `address`. False: there is none.
static inline bool memory_find_area(const void* address, struct memory_area* area) {
  FILE* const file = fopen("/proc/self/smaps", "re");
  SUBJECT_CHECK(file != NULL);
  char line[1024];
  bool inside = false;
  while (fgets(line, sizeof line, file) != NULL) {
    const bool detail = line[0] >= 'A' && line[0] <= 'Z';
    if (detail && inside) memory_read_detail(area, line);
    if (detail) continue;
    if (inside) break;
    struct memory_area found;
    memset(&found, 0, sizeof found);
    int name_at = 0;
    sscanf(line, "%lx-%lx %4s %llx %*s %lu %n", &found.start, &found.end, found.permissions, &found.offset,
           &found.inode, &name_at);
    snprintf(found.name, sizeof found.name, "%.*s", (int)strcspn(line + name_at, "\n"), line + name_at);
    inside = (uintptr_t)address >= found.start && (uintptr_t)address < found.end;
    if (inside) *area = found;
  }
  fclose(file);
  return inside;
}

static inline struct memory_area memory_area_of(const void* address) {
  struct memory_area area;
  SUBJECT_CHECK(memory_find_area(address, &area), "nothing is mapped at %p", address);
  return area;
}

// Whether the page at `place` is there, without touching it.
static inline bool memory_is_there(void* place) {
  unsigned char there = 0;
  SUBJECT_CHECK(mincore(place, PAGE, &there) == 0);
  return there & 1;
}

// Whether VmFlags of the area has `code`, such as "hg".
static inline bool memory_has_flag(const void* address, const char* code) {
  char wanted[8];
  snprintf(wanted, sizeof wanted, " %s ", code);
  return strstr(memory_area_of(address).flags, wanted) != NULL;
}

// A number of /proc/self/status, "VmLck".
static inline long memory_status(const char* key) {
  FILE* const file = fopen("/proc/self/status", "re");
  SUBJECT_CHECK(file != NULL);
  char line[1024];
  long value = -1;
  while (fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':') value = atol(line + strlen(key) + 1);
  }
  fclose(file);
  return value;
}

// How many lines /proc/self/maps has.
static inline long memory_area_count(void) {
  FILE* const file = fopen("/proc/self/maps", "re");
  SUBJECT_CHECK(file != NULL);
  long count = 0;
  for (int byte; (byte = getc(file)) != EOF;) count += byte == '\n';
  fclose(file);
  return count;
}
