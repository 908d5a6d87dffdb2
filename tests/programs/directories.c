// Directories: one that is being read goes on where it was, by readdir(3) and by the system call, and each entry comes
// exactly once; others serve openat(2), fchdir(2) and fstatat(2).
#include "descriptors.h"

enum { kEntries = 900 };

static unsigned char seen_by_library[kEntries], seen_by_call[kEntries];

static void note(unsigned char* seen, const char* name) {
  if (name[0] == '.') return;
  const int number = atoi(name + strlen("entry-"));
  SUBJECT_CHECK(number >= 0 && number < kEntries, "%s", name);
  seen[number]++;
}

// As many entries as one small buffer takes; 0 at the end.
static long read_some(int directory) {
  char buffer[700] __attribute__((aligned(8)));
  const long bytes = syscall(SYS_getdents64, directory, buffer, sizeof buffer);
  SUBJECT_CHECK(bytes >= 0);
  for (long at = 0; at < bytes; at += ((struct dirent64*)(buffer + at))->d_reclen)
    note(seen_by_call, ((struct dirent64*)(buffer + at))->d_name);
  return bytes;
}

static void check_seen(const unsigned char* seen) {
  for (int i = 0; i < kEntries; i++) SUBJECT_CHECK(seen[i] == 1, "entry %d came %d times", i, seen[i]);
}

int main(void) {
  SUBJECT_NEED(mkdir("folder", 0755) == 0 && mkdir("folder/.below", 0700) == 0);
  char name[64];
  for (int i = 0; i < kEntries; i++) {
    snprintf(name, sizeof name, "folder/entry-%03d-with-a-name-that-takes-some-room", i);
    make_file(name, "");
  }
  DIR* const listing = opendir("folder");
  SUBJECT_NEED(listing != NULL);
  for (int i = 0; i < 400; i++) {
    const struct dirent* const entry = readdir(listing);
    SUBJECT_NEED(entry != NULL);
    note(seen_by_library, entry->d_name);
  }
  const int raw = open_existing("folder", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (int i = 0; i < 20; i++) SUBJECT_NEED(read_some(raw) > 0);
  const int fresh = open_existing("folder/.below", O_RDONLY);
  const int raw_duplicate = dup(raw);
  const int own = open_existing("/proc/self", O_RDONLY | O_DIRECTORY);
  const int own_place = open_existing("/proc/self", O_PATH);
  const off_t position = lseek(raw, 0, SEEK_CUR);
  SUBJECT_NEED(position != 0);

  subject_ready();

  expect_position(raw, position);
  SUBJECT_CHECK((fcntl(fresh, F_GETFL) & O_DIRECTORY) == 0, "it was not opened so");
  SUBJECT_CHECK(fcntl(raw, F_GETFD) == FD_CLOEXEC && (fcntl(raw, F_GETFL) & O_DIRECTORY) != 0);
  for (const struct dirent* entry; (entry = readdir(listing)) != NULL;) note(seen_by_library, entry->d_name);
  check_seen(seen_by_library);
  while (read_some(raw_duplicate) > 0) {
  }
  check_seen(seen_by_call);
  SUBJECT_CHECK(read_some(raw) == 0, "the duplicate does not share its position");

  struct stat link;
  for (int i = 0; i < 2; i++) {
    const int place = i == 0 ? own : own_place;
    SUBJECT_CHECK(fstat(place, &link) == 0 && S_ISDIR(link.st_mode), "not the process's own directory");
    SUBJECT_CHECK(readlinkat(place, "cwd", name, sizeof name) > 0, "not this process's directory: errno %d", errno);
  }
  const int file = openat(fresh, "made", O_WRONLY | O_CREAT | O_EXCL, 0600);
  SUBJECT_CHECK(file >= 0);
  write_text(file, "by the directory");
  expect_content("folder/.below/made", "by the directory");
  SUBJECT_CHECK(fchdir(fresh) == 0);
  expect_content("made", "by the directory");
  expect_error(read(fresh, name, 1), EISDIR, "reading a directory as a file");
  subject_ok();
}
