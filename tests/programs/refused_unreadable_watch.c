// A watch (inotify) of what the program may not read any more: a restart could not watch it again.
// subject: ordinary-only
// subject: checkpoint-options --kill
// subject: refused mine, which its permissions do not let this user read, as watching it again takes (chmod u+r it
#include <sys/inotify.h>

#include "descriptors.h"

int main(void) {
  SUBJECT_NEED(mkdir("mine", 0700) == 0);
  const int instance = inotify_init1(IN_NONBLOCK);
  SUBJECT_NEED(instance >= 0 && inotify_add_watch(instance, "mine", IN_CREATE) == 1 && chmod("mine", 0300) == 0);
  subject_ready();
  make_file("mine/new", "");
  char bytes[4096];
  SUBJECT_CHECK(read(instance, bytes, sizeof bytes) > 0 && ((struct inotify_event*)bytes)->mask == IN_CREATE);
  subject_ok();
}
