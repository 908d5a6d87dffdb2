// FIFOs with both ends in the process: one that has a name, one that was given another name, one whose name is gone,
// one that is read and written by one descriptor. And two whose readers wait for their first writer.
#include <poll.h>

#include "descriptors.h"

// A reader is told of none before its first writer has come and gone.
static void expect_no_hang_up(int reader) {
  struct pollfd end = {reader, POLLIN, 0};
  SUBJECT_CHECK(poll(&end, 1, 0) == 0, "descriptor %d reports events %#x", reader, (unsigned)end.revents);
}

int main(void) {
  SUBJECT_NEED(mkfifo("named", 0600) == 0 && mkfifo("removed", 0640) == 0 && chmod("removed", 0640) == 0 &&
               mkfifo("both", 0600) == 0);
  const int reader = open_existing("named", O_RDONLY | O_NONBLOCK);
  const int writer = open_existing("named", O_WRONLY);
  const int second_writer = open_existing("named", O_WRONLY | O_CLOEXEC);
  SUBJECT_NEED(fcntl(reader, F_SETFL, 0) == 0);
  write_text(writer, "in the FIFO");
  const int removed_reader = open_existing("removed", O_RDONLY | O_NONBLOCK);
  const int removed_writer = open_existing("removed", O_WRONLY);
  write_text(removed_writer, "without a name");
  const int removed_flags = fcntl(removed_reader, F_GETFL);
  SUBJECT_NEED(unlink("removed") == 0);
  SUBJECT_NEED(mkfifo("passing", 0600) == 0);
  const int linked_reader = open_existing("passing", O_RDONLY | O_NONBLOCK);
  SUBJECT_NEED(link("passing", "linked") == 0 && unlink("passing") == 0);
  const int linked_writer = open_existing("linked", O_WRONLY);
  const int both = open_existing("both", O_RDWR);
  SUBJECT_NEED(fcntl(both, F_SETPIPE_SZ, 1 << 17) == 1 << 17);
  write_text(both, "by oneself");

  SUBJECT_NEED(mkfifo("awaiting", 0600) == 0 && mkfifo("waiting", 0600) == 0);
  const int awaiting = open_existing("awaiting", O_RDONLY | O_NONBLOCK);
  const int waiting = open_existing("waiting", O_RDONLY | O_NONBLOCK);
  SUBJECT_NEED(fcntl(waiting, F_SETFL, 0) == 0 && fcntl(awaiting, F_SETPIPE_SZ, 1 << 17) == 1 << 17);
  expect_no_hang_up(awaiting);

  subject_ready();

  struct stat by_path, opened;
  SUBJECT_CHECK(stat("named", &by_path) == 0 && fstat(reader, &opened) == 0 && by_path.st_ino == opened.st_ino &&
                by_path.st_dev == opened.st_dev);
  SUBJECT_CHECK(!same_description(writer, second_writer) && fcntl(second_writer, F_GETFD) == FD_CLOEXEC &&
                (fcntl(reader, F_GETFL) & O_NONBLOCK) == 0);
  const int newcomer = open_existing("named", O_WRONLY | O_NONBLOCK);
  write_text(newcomer, ", by a newcomer");
  expect_read(reader, "in the FIFO, by a newcomer");
  SUBJECT_CHECK(close(writer) == 0 && close(second_writer) == 0 && close(newcomer) == 0);
  expect_read(reader, "");  // nobody writes any more
  SUBJECT_CHECK(fstat(removed_reader, &opened) == 0 && opened.st_nlink == 0 && (opened.st_mode & 07777) == 0640,
                "%lu links, mode %o", (unsigned long)opened.st_nlink, opened.st_mode);
  SUBJECT_CHECK(stat("removed", &by_path) != 0 && fcntl(removed_reader, F_GETFL) == removed_flags);
  expect_read(removed_reader, "without a name");
  SUBJECT_CHECK(close(removed_writer) == 0);
  expect_read(removed_reader, "");
  SUBJECT_CHECK(stat("linked", &by_path) == 0 && fstat(linked_reader, &opened) == 0 &&
                by_path.st_ino == opened.st_ino && fstat(linked_writer, &opened) == 0 &&
                by_path.st_ino == opened.st_ino);
  SUBJECT_CHECK(fcntl(both, F_GETPIPE_SZ) == 1 << 17);
  expect_read(both, "by oneself");
  expect_no_hang_up(awaiting);
  expect_no_hang_up(waiting);
  SUBJECT_CHECK((fcntl(waiting, F_GETFL) & O_NONBLOCK) == 0 && (fcntl(awaiting, F_GETFL) & O_NONBLOCK) != 0);
  SUBJECT_CHECK(fcntl(awaiting, F_GETPIPE_SZ) == 1 << 17);
  const int first = open_existing("awaiting", O_WRONLY | O_NONBLOCK);
  write_text(first, "the first");
  expect_read(awaiting, "the first");
  SUBJECT_CHECK(close(first) == 0);
  struct pollfd end = {awaiting, POLLIN, 0};
  SUBJECT_CHECK(poll(&end, 1, 0) == 1 && end.revents == POLLHUP);
  subject_ok();
}
