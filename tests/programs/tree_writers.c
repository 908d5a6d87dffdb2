// A tree whose processes all write while snapshots are taken: each has more memory than is read in a pause, so it is
// copied ahead. One of them executes itself anew all the time, in the same places, and one has children that come, work
// and end. What a page must hold is known from another page; a copy that is too old, or another process's, is found.
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "subject.h"

enum { kPage = 4096, kWriters = 2, kMebibyte = 1 << 20 };

static uint64_t* map(uintptr_t place, size_t bytes) {
  void* const memory =
      mmap((void*)place, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (memory != (void*)place) _exit(2);
  return memory;
}

static int is_over(void) { return access(subject_environment("SUBJECT_GO"), F_OK) == 0; }

static uint64_t content(uint64_t owner, uint64_t page, uint64_t version) {
  return (owner << 56) ^ (version << 20) ^ (page + 1) * 0x9e3779b97f4a7c15U;
}

struct pages {
  uint64_t owner;
  uint64_t count;
  uint64_t* memory;
  uint64_t* versions;
};

// All processes have their memory at the same addresses.
static struct pages make_pages(uint64_t owner, uint64_t mebibytes) {
  struct pages pages = {owner, mebibytes * kMebibyte / kPage, NULL, NULL};
  pages.memory = map(0x500000000000, mebibytes * kMebibyte);
  pages.versions = map(0x510000000000, pages.count * sizeof(uint64_t));
  for (uint64_t page = 0; page < pages.count; ++page) pages.memory[page * kPage / 8] = content(owner, page, 0);
  return pages;
}

static void write_page(struct pages* pages, uint64_t page) {
  const uint64_t version = ++pages->versions[page];
  pages->memory[page * kPage / 8] = content(pages->owner, page, version);
}

// Whose content it is, and of what version, for the message.
static void explain(uint64_t page, uint64_t found, char* text, size_t size) {
  for (uint64_t owner = 0; owner < 256; ++owner) {
    for (uint64_t version = 0; version < 10000; ++version) {
      if (content(owner, page, version) != found) continue;
      snprintf(text, size, "version %lu of %lu", (unsigned long)version, (unsigned long)owner);
      return;
    }
  }
  snprintf(text, size, "%#lx", (unsigned long)found);
}

static void check_pages(const struct pages* pages) {
  for (uint64_t page = 0; page < pages->count; ++page) {
    const uint64_t found = pages->memory[page * kPage / 8];
    if (found == content(pages->owner, page, pages->versions[page])) continue;
    char text[64];
    explain(page, found, text, sizeof text);
    subject_fail("page %lu of %lu holds %s instead of version %lu", (unsigned long)page, (unsigned long)pages->owner,
                 text, (unsigned long)pages->versions[page]);
  }
}

static void write_on(uint64_t owner) {
  struct pages pages = make_pages(owner, 24);
  uint64_t random = owner;
  while (!is_over()) {
    for (int i = 0; i < 64; ++i) {
      random = random * 6364136223846793005U + 1442695040888963407U;
      write_page(&pages, (random >> 33) % pages.count);
    }
    subject_sleep_ms(1);
  }
  check_pages(&pages);
  _exit(0);
}

static void renew(int number) {
  struct pages pages = make_pages((uint64_t)number % 200, 8);
  for (uint64_t page = 0; page < pages.count; page += 3) write_page(&pages, page);
  subject_sleep_ms(20);
  check_pages(&pages);
  if (is_over()) _exit(0);
  char text[16];
  snprintf(text, sizeof text, "%d", number + 1);
  execl("/proc/self/exe", "renew", text, (char*)NULL);
  _exit(3);
}

static void have_children(void) {
  struct pages pages = make_pages(250, 6);
  for (uint64_t number = 0; !is_over(); ++number) {
    const pid_t child = fork();
    if (child < 0) _exit(4);
    if (child == 0) {
      // Its parent's memory, and then its own.
      for (uint64_t page = 0; page < pages.count; ++page) write_page(&pages, page);
      subject_sleep_ms(10);
      check_pages(&pages);
      _exit(7);
    }
    write_page(&pages, number % pages.count);
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7) _exit(5);
  }
  check_pages(&pages);
  _exit(0);
}

int main(int argc, char** argv) {
  if (argc == 2) renew(atoi(argv[1]));
  struct pages pages = make_pages(0, 16);
  munmap(pages.memory + pages.count * kPage / 16, pages.count * kPage / 2);
  pages.count /= 2;
  for (uint64_t number = 1; number <= kWriters + 2; ++number) {
    const pid_t child = fork();
    SUBJECT_NEED(child >= 0);
    if (child != 0) continue;
    munmap(pages.memory, pages.count * kPage);
    munmap(pages.versions, pages.count * 2 * sizeof(uint64_t));
    if (number <= kWriters) write_on(number);
    if (number == kWriters + 1) execl("/proc/self/exe", "renew", "1", (char*)NULL);
    have_children();
  }

  subject_ready();

  check_pages(&pages);
  for (int ended = 0; ended < kWriters + 2; ++ended) {
    int status = 0;
    const pid_t pid = wait(&status);
    SUBJECT_CHECK(pid > 0 && status == 0, "process %d ended with %#x", (int)pid, (unsigned)status);
  }
  subject_ok();
}
