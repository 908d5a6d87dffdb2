// Unix sockets between a parent and its child: pairs with data waiting at both ends, descriptors on their way from one
// to the other (which nobody else has, or only the sender, or both), and a socket that listens and that both have, with
// a connection between them and one that waits to be accepted. A message says which process has sent it.
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "sockets.h"

enum { kStatus = 31 };

static void await(int socket) {
  char byte;
  SUBJECT_CHECK(read(socket, &byte, 1) == 1, "the other process is gone");
}

// A parent that is gone has been killed: there is nothing to report.
static void await_parent(int socket) {
  char byte;
  if (read(socket, &byte, 1) != 1) _exit(2);
}

static void say(int socket) { SUBJECT_CHECK(send(socket, "", 1, MSG_NOSIGNAL) == 1); }

static void child(int talk, int stream, int packets, int letters, int inherited) {
  send_text(letters, "signed");
  send_text(stream, "from the child");
  make_file("from_child", "content of the child");
  const int file = open_existing("from_child", O_RDONLY);
  SUBJECT_NEED(lseek(file, 8, SEEK_SET) == 8);
  send_descriptor(packets, "with a file", file);
  close(file);
  const int connected = unix_socket(SOCK_STREAM, NULL), waiting = unix_socket(SOCK_STREAM, NULL);
  connect_unix(connected, "listening");
  connect_unix(waiting, "listening");
  say(talk);

  await_parent(talk);  // all checkpoints and restarts happen in here
  expect_message(stream, "from the parent");
  expect_nothing(stream);
  const int sent = receive_descriptor(packets, 100, "with sent", NULL);
  expect_read(sent, "content");
  const int both = receive_descriptor(packets, 100, "with inherited", NULL);
  SUBJECT_CHECK(same_description(both, inherited), "not the one that was inherited");
  SUBJECT_CHECK(lseek(inherited, 0, SEEK_CUR) == 3, "the offset is not shared with the parent");
  const int timer = receive_descriptor(packets, 100, "with a timer", NULL);
  struct itimerspec left;
  SUBJECT_CHECK(timerfd_gettime(timer, &left) == 0 && left.it_value.tv_sec > 3000, "%ld seconds left",
                (long)left.it_value.tv_sec);
  expect_name(getpeername, connected, "listening");
  expect_message(connected, "accepted");
  send_text(connected, "received");
  send_text(stream, "and after");
  say(talk);

  await_parent(talk);
  expect_message(waiting, "late");
  _exit(kStatus);
}

int main(void) {
  int talk[2], stream[2], packets[2], letters[2];
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, talk) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0 &&
               socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets) == 0 &&
               socketpair(AF_UNIX, SOCK_DGRAM, 0, letters) == 0);
  set_option(letters[0], SOL_SOCKET, SO_PASSCRED, 1);
  make_file("inherited", "0123456789");
  make_file("sent", "sent content");
  const int inherited = open_existing("inherited", O_RDONLY);
  const int listener = unix_socket(SOCK_STREAM, "listening");
  SUBJECT_NEED(listen(listener, 7) == 0);
  const pid_t pid = fork();
  SUBJECT_NEED(pid >= 0);
  if (pid == 0) {
    close(talk[0]);
    close(stream[0]);
    close(packets[0]);
    close(letters[0]);
    child(talk[1], stream[1], packets[1], letters[1], inherited);
  }
  close(talk[1]);
  close(stream[1]);
  close(packets[1]);
  send_text(stream[0], "from the parent");
  const int sent = open_existing("sent", O_RDONLY);
  SUBJECT_NEED(lseek(sent, 5, SEEK_SET) == 5);
  send_descriptor(packets[0], "with sent", sent);
  close(sent);
  send_descriptor(packets[0], "with inherited", inherited);
  const int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  const struct itimerspec hour = {{0, 0}, {3600, 0}};
  SUBJECT_NEED(timer >= 0 && timerfd_settime(timer, 0, &hour, NULL) == 0);
  send_descriptor(packets[0], "with a timer", timer);
  close(timer);
  await(talk[0]);
  const int accepted = accept(listener, NULL, NULL);
  SUBJECT_NEED(accepted >= 0);
  send_text(accepted, "accepted");
  SUBJECT_NEED(lseek(inherited, 3, SEEK_SET) == 3);

  subject_ready();

  say(talk[0]);
  await(talk[0]);
  expect_message(stream[0], "from the childand after");
  const int file = receive_descriptor(packets[0], 100, "with a file", NULL);
  expect_read(file, "of the child");
  struct ucred sender = {0};
  receive_descriptor(letters[0], 100, "signed", &sender);
  SUBJECT_CHECK(sender.pid == pid && sender.uid == getuid(), "signed by %d instead of %d", (int)sender.pid, (int)pid);
  expect_message(accepted, "received");
  expect_name(getsockname, accepted, "listening");
  const int late = accept(listener, NULL, NULL);
  SUBJECT_CHECK(late >= 0, "nobody waits");
  send_text(late, "late");
  say(talk[0]);
  int status = 0;
  SUBJECT_CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == kStatus, "status %#x",
                (unsigned)status);
  expect_end(accepted);
  subject_ok();
}
