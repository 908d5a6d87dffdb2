// Pipes inside the process: their data, what room they have, packets, duplicated and closed ends, flags.
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "descriptors.h"

static int unread(int file) {
  int bytes = -1;
  SUBJECT_CHECK(ioctl(file, FIONREAD, &bytes) == 0);
  return bytes;
}

static unsigned char byte_at(int i) { return (unsigned char)(i * 7 + i / 256); }

// A pipe of `size` bytes (0: the usual), filled to the brim.
static void make_full(int ends[2], int size) {
  SUBJECT_NEED(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  if (size > 0) SUBJECT_NEED(fcntl(ends[1], F_SETPIPE_SZ, size) == size);
  unsigned char bytes[4096];
  int total = 0;
  for (ssize_t put; (put = write(ends[1], bytes, sizeof bytes)) >= 0 || errno != EAGAIN; total += (int)put) {
    for (int i = 0; i < (int)sizeof bytes; i++) bytes[i] = byte_at(total + 4096 + i);
  }
  SUBJECT_NEED(total == fcntl(ends[1], F_GETPIPE_SZ));
}

static void check_full(const int ends[2], int size) {
  SUBJECT_CHECK(fcntl(ends[0], F_GETPIPE_SZ) == size && unread(ends[0]) == size, "%d of %d bytes", unread(ends[0]),
                size);
  expect_error(write(ends[1], "x", 1), EAGAIN, "writing into a full pipe");
  unsigned char bytes[4096];
  for (int total = 0; total < size; total += (int)sizeof bytes) {
    SUBJECT_CHECK(read(ends[0], bytes, sizeof bytes) == sizeof bytes);
    for (int i = 0; total > 0 && i < (int)sizeof bytes; i++)
      SUBJECT_CHECK(bytes[i] == byte_at(total + i), "byte %d", total + i);
  }
  expect_error(read(ends[0], bytes, 1), EAGAIN, "reading from an empty pipe");
  SUBJECT_CHECK((fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0 && fcntl(ends[1], F_GETFD) == FD_CLOEXEC);
}

static void check_half_open(int reader, int writer) {
  expect_read(reader, "last words");
  expect_read(reader, "");  // the end
  struct pollfd entry = {reader, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 0) == 1 && entry.revents == POLLHUP);
  expect_error(write(writer, "x", 1), EPIPE, "writing where nobody reads");
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  int data[2], usual[2], large[2], small[2], packets[2], no_writer[2], no_reader[2], mixed[2];
  SUBJECT_NEED(pipe(data) == 0 && write(data[1], "some", 4) == 4 && write(data[1], " data", 5) == 5);
  const int writer_again = dup(data[1]);
  const int reader_far = fcntl(data[0], F_DUPFD, 200);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", data[0]);
  const int both = open_existing(path, O_RDWR | O_NONBLOCK);
  make_full(usual, 0);
  make_full(large, 1 << 20);
  make_full(small, 4096);
  SUBJECT_NEED(pipe2(packets, O_DIRECT) == 0);
  write_text(packets[1], "one");
  write_text(packets[1], "the second");
  write_text(packets[1], "3");
  SUBJECT_NEED(pipe(no_writer) == 0 && pipe(no_reader) == 0);
  write_text(no_writer[1], "last words");
  write_text(no_reader[1], "nobody reads this");
  SUBJECT_NEED(close(no_writer[1]) == 0 && close(no_reader[0]) == 0);
  // Pipes that are put into packet mode when data is in them already.
  static char stream[8192];  // whole pages: a packet that fits into the last one would be put there
  memset(stream, 's', sizeof stream);
  SUBJECT_NEED(pipe(mixed) == 0 && write(mixed[1], stream, sizeof stream) == sizeof stream &&
               fcntl(mixed[1], F_SETFL, O_DIRECT) == 0);
  write_text(mixed[1], "packet");
  SUBJECT_NEED(fcntl(mixed[1], F_SETFL, 0) == 0);
  write_text(mixed[1], "and stream");
  int late[2];
  SUBJECT_NEED(pipe(late) == 0 && write(late[1], stream, sizeof stream) == sizeof stream &&
               fcntl(late[1], F_SETFL, O_DIRECT) == 0);

  subject_ready();

  SUBJECT_CHECK(same_description(data[1], writer_again) && same_description(data[0], reader_far) &&
                !same_description(data[0], both));
  SUBJECT_CHECK(unread(both) == 9 && (fcntl(both, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == (O_RDWR | O_NONBLOCK));
  SUBJECT_CHECK((fcntl(data[0], F_GETFL) & ~O_LARGEFILE) == O_RDONLY &&
                (fcntl(data[1], F_GETFL) & ~O_LARGEFILE) == O_WRONLY);
  write_text(writer_again, ", more");
  expect_read(reader_far, "some data, more");
  write_text(both, "to itself");
  expect_read(data[0], "to itself");

  check_full(usual, 65536);
  check_full(large, 1 << 20);
  check_full(small, 4096);

  SUBJECT_CHECK((fcntl(packets[1], F_GETFL) & O_DIRECT) != 0);
  write_text(packets[1], "a fourth");
  expect_read(packets[0], "one");
  expect_read(packets[0], "the second");
  expect_read(packets[0], "3");
  expect_read(packets[0], "a fourth");

  check_half_open(no_writer[0], no_reader[1]);

  char text[8182];
  SUBJECT_CHECK(read(mixed[0], text, sizeof text) == sizeof text && text[0] == 's' && text[sizeof text - 1] == 's');
  expect_read(mixed[0], "sssssssssspacket");
  expect_read(mixed[0], "and stream");
  for (int i = 0; i < 2; i++)
    SUBJECT_CHECK(read(late[0], text, 4096) == 4096, "the rest was taken for a packet's and dropped");
  subject_ok();
}
