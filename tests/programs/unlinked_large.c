// An unlinked file of 300 MiB: content of any size belongs to the snapshot.
// subject: args 300
// subject: rounds 1
#include "descriptors.h"

enum { kWords = 1 << 17 };  // 1 MiB

static void fill(unsigned long* words, unsigned long block) {
  for (unsigned long i = 0; i < kWords; i++) words[i] = (block * kWords + i) * 0x9e3779b97f4a7c15UL + 1;
}

int main(int count, char** arguments) {
  const unsigned long blocks = strtoul(count > 1 ? arguments[1] : "300", NULL, 10);
  static unsigned long wanted[kWords], got[kWords];
  make_file("large", "");
  const int file = open_existing("large", O_RDWR);
  SUBJECT_NEED(unlink("large") == 0);
  for (unsigned long block = 0; block < blocks; block++) {
    fill(wanted, block);
    SUBJECT_NEED(write(file, wanted, sizeof wanted) == sizeof wanted, "block %lu", block);
  }

  subject_ready();

  expect_position(file, (off_t)(blocks * sizeof wanted));
  SUBJECT_CHECK(links_of(file) == 0 && lseek(file, 0, SEEK_SET) == 0);
  for (unsigned long block = 0; block < blocks; block++) {
    fill(wanted, block);
    SUBJECT_CHECK(read(file, got, sizeof got) == sizeof got && memcmp(wanted, got, sizeof got) == 0,
                  "block %lu is another", block);
  }
  SUBJECT_CHECK(read(file, got, 1) == 0);
  subject_ok();
}
