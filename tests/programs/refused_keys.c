// Keys in a session's keyring of its own end with the program, and no key can be made again with its serial number.
// subject: refused has keys in its session keyring
#include <linux/keyctl.h>

#include "subject.h"

int main(void) {
  SUBJECT_NEED(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "of the subject", 0, 0, 0) >= 0);
  SUBJECT_NEED(syscall(SYS_add_key, "user", "secret", "abc", 3, KEY_SPEC_SESSION_KEYRING) >= 0);
  subject_ready();
  subject_ok();
}
