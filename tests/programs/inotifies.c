// inotify: watches with their numbers and masks, after gaps, of files and directories.
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

#include "descriptors.h"

static void expect_event(int instance, int watch, unsigned mask, const char* name) {
  char bytes[4096];
  struct pollfd entry = {instance, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 5000) == 1, "no event of watch %d", watch);
  // One at a time, however many there are: each has room for the longest name only once.
  const ssize_t got = read(instance, bytes, sizeof(struct inotify_event) + (name == NULL ? 0 : 16));
  const struct inotify_event* const event = (const struct inotify_event*)bytes;
  SUBJECT_CHECK(got > 0 && event->wd == watch && event->mask == mask, "watch %d, mask %x instead of %d, %x", event->wd,
                event->mask, watch, mask);
  SUBJECT_CHECK(name == NULL ? event->len == 0 : strcmp(event->name, name) == 0);
}

static void touch(const char* name) {
  const int file = open(name, O_WRONLY | O_APPEND | O_CREAT, 0644);
  write_text(file, "x");
  close(file);
}

int main(void) {
  SUBJECT_NEED(mkdir("folder", 0755) == 0 && mkdir("other", 0755) == 0);
  make_file("file", "content");
  const int instance = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  const int first = inotify_add_watch(instance, "folder", IN_CREATE | IN_DELETE);
  const int passing = inotify_add_watch(instance, "other", IN_CREATE);
  SUBJECT_NEED(inotify_rm_watch(instance, passing) == 0);
  const int third = inotify_add_watch(instance, "file", IN_MODIFY | IN_ONESHOT);
  const int fourth = inotify_add_watch(instance, "other", IN_MOVED_TO | IN_ONLYDIR);
  SUBJECT_NEED(instance >= 0 && first == 1 && third == 3 && fourth == 4);
  expect_event(instance, passing, IN_IGNORED, NULL);
  const int empty = inotify_init1(0);

  subject_ready();

  int unread = -1;
  SUBJECT_CHECK(ioctl(instance, FIONREAD, &unread) == 0 && unread == 0, "%d bytes of events", unread);
  SUBJECT_CHECK(fcntl(instance, F_GETFD) == FD_CLOEXEC && (fcntl(instance, F_GETFL) & O_NONBLOCK) != 0);
  touch("folder/new");
  expect_event(instance, first, IN_CREATE, "new");
  touch("file");
  expect_event(instance, third, IN_MODIFY, NULL);
  expect_event(instance, third, IN_IGNORED, NULL);
  SUBJECT_NEED(rename("folder/new", "other/moved") == 0);
  expect_event(instance, fourth, IN_MOVED_TO, "moved");
  SUBJECT_CHECK(inotify_rm_watch(instance, first) == 0);
  expect_event(instance, first, IN_IGNORED, NULL);
  SUBJECT_CHECK((fcntl(empty, F_GETFL) & O_NONBLOCK) == 0 && inotify_add_watch(empty, "file", IN_OPEN) == 1);
  subject_ok();
}
