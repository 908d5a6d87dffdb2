// /proc/self/mem that stands at an address of the kernel's half, which the kernel shows as a negative offset.
// subject: root-only
#include "descriptors.h"

int main(void) {
  const off_t address = (off_t)0xffffffffff600000;
  const int memory = open_existing("/proc/self/mem", O_RDONLY);
  SUBJECT_NEED(lseek(memory, address, SEEK_SET) == address);
  subject_ready();
  SUBJECT_CHECK(lseek(memory, 0, SEEK_CUR) == address);
  static const char kWord[] = "mine";
  char word[sizeof kWord];
  SUBJECT_CHECK(pread(memory, word, sizeof word, (off_t)kWord) == sizeof word && strcmp(word, kWord) == 0);
  subject_ok();
}
