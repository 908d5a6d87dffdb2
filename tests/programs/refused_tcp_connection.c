// An established TCP connection cannot be kept, and the message names its descriptor.
// subject: refused descriptor 17
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "subject.h"

int main(void) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  SUBJECT_NEED(bind(listener, (struct sockaddr*)&address, length) == 0 && listen(listener, 1) == 0);
  SUBJECT_NEED(getsockname(listener, (struct sockaddr*)&address, &length) == 0);
  const int plain = socket(AF_INET, SOCK_STREAM, 0);
  SUBJECT_NEED(connect(plain, (struct sockaddr*)&address, length) == 0);
  const int client = dup2(plain, 17);
  close(plain);
  const int server = accept(listener, NULL, NULL);
  SUBJECT_NEED(client == 17 && server >= 0);
  close(listener);
  subject_ready();
  char text[8] = "";
  SUBJECT_CHECK(write(client, "hello", 5) == 5 && read(server, text, 8) == 5 && strcmp(text, "hello") == 0);
  subject_ok();
}
