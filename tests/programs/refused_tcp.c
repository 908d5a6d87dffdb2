// With --tcp refuse, a TCP connection to another program stands in the way, and the message names its descriptor.
// subject: refused descriptor 17
// subject: checkpoint-options --tcp refuse
// subject: rounds 1
#include <sys/wait.h>

#include "inet.h"

int main(void) {
  const int listener = bound_socket(AF_INET, SOCK_STREAM);
  SUBJECT_NEED(listen(listener, 1) == 0);
  const pid_t between = fork();
  SUBJECT_NEED(between >= 0);
  if (between == 0) {
    char byte;
    if (fork() == 0) recv(accept_one(listener), &byte, 1, MSG_PEEK);
    _exit(0);
  }
  SUBJECT_NEED(waitpid(between, NULL, 0) == between);
  const int plain = client_of(listener);
  const int client = dup2(plain, 17);
  close(plain);
  close(listener);
  SUBJECT_NEED(client == 17);
  subject_ready();
  send_text(client, "x");
  subject_ok();
}
