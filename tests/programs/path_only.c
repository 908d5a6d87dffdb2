// Places in the file system (O_PATH): a file, a directory, a symbolic link itself, a FIFO, a unix socket; and what may
// be done with them. Also places of an unlinked file and of a memfd.
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "descriptors.h"

static void check_type(int place, mode_t wanted, int flags) {
  struct stat status;
  SUBJECT_CHECK(fcntl(place, F_GETFL) == (O_PATH | flags), "flags %#x", (unsigned)fcntl(place, F_GETFL));
  SUBJECT_CHECK(fstat(place, &status) == 0 && (status.st_mode & S_IFMT) == wanted, "type %o instead of %o",
                status.st_mode & S_IFMT, wanted);
  expect_error(read(place, &status, 1), EBADF, "reading a place");
}

int main(void) {
  SUBJECT_NEED(mkdir("folder", 0755) == 0 && mkfifo("fifo", 0600) == 0 && symlink("folder/file", "link") == 0);
  make_file("folder/file", "by its place");
  const int socket_file = socket(AF_UNIX, SOCK_STREAM, 0);
  const struct sockaddr_un address = {AF_UNIX, "socket"};
  SUBJECT_NEED(bind(socket_file, (const struct sockaddr*)&address, sizeof address) == 0 && close(socket_file) == 0);
  const int file = open_existing("folder/file", O_PATH | O_CLOEXEC);
  const int folder = open_existing("folder", O_PATH | O_DIRECTORY);
  const int link_itself = open_existing("link", O_PATH | O_NOFOLLOW);
  const int fifo = open_existing("fifo", O_PATH);
  const int socket_place = open_existing("socket", O_PATH);
  const int duplicate = dup(folder);
  make_file("unlinked", "has no name");
  const int unlinked = open_existing("unlinked", O_PATH);
  SUBJECT_NEED(unlink("unlinked") == 0);
  const int memory_file = memfd_create("memory", 0);
  write_text(memory_file, "in memory");
  char memory_path[64];
  snprintf(memory_path, sizeof memory_path, "/proc/self/fd/%d", memory_file);
  const int memory_place = open_existing(memory_path, O_PATH | O_CLOEXEC);

  subject_ready();

  check_type(file, S_IFREG, 0);
  check_type(folder, S_IFDIR, O_DIRECTORY);
  check_type(link_itself, S_IFLNK, O_NOFOLLOW);
  check_type(fifo, S_IFIFO, 0);
  check_type(socket_place, S_IFSOCK, 0);
  SUBJECT_CHECK(fcntl(file, F_GETFD) == FD_CLOEXEC && same_description(folder, duplicate));
  char text[64] = "";
  SUBJECT_CHECK(readlinkat(link_itself, "", text, sizeof text) == 11 && strcmp(text, "folder/file") == 0);
  const int opened = openat(folder, "file", O_RDONLY);
  expect_read(opened, "by its place");
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  expect_content(path, "by its place");
  check_type(unlinked, S_IFREG, 0);
  snprintf(path, sizeof path, "/proc/self/fd/%d", unlinked);
  expect_content(path, "has no name");
  check_type(memory_place, S_IFREG, 0);
  SUBJECT_CHECK(pwrite(memory_file, "IN", 2, 0) == 2 && fcntl(memory_place, F_GETFD) == FD_CLOEXEC);
  snprintf(path, sizeof path, "/proc/self/fd/%d", memory_place);
  expect_content(path, "IN memory");
  subject_ok();
}
