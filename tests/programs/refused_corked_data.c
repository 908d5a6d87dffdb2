// Data that a UDP socket keeps until more of it is there, or until it is uncorked: nobody can read it.
// subject: refused a UDP socket with data that waits for more before it is sent
#include "inet.h"

int main(void) {
  const int receiver = bound_socket(AF_INET, SOCK_DGRAM);
  const int sender = bound_socket(AF_INET, SOCK_DGRAM);
  connect_place(sender, place_by(getsockname, receiver));
  SUBJECT_NEED(send(sender, "part", 4, MSG_MORE) == 4);
  subject_ready();
  subject_ok();
}
