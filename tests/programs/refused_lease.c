// A lease (F_SETLEASE): it promises the process to be told before others open the file, which nobody could keep while
// it is in a snapshot.
// subject: refused a lease or lock of a kind that is not kept
#include "descriptors.h"

int main(void) {
  make_file("leased", "mine");
  const int file = open_existing("leased", O_RDONLY);
  SUBJECT_NEED(fcntl(file, F_SETLEASE, F_RDLCK) == 0);
  subject_ready();
  SUBJECT_CHECK(fcntl(file, F_GETLEASE) == F_RDLCK);
  subject_ok();
}
