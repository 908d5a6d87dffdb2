// Ten processes in a ring that hand messages on all the time, through pipes, unix stream sockets and unix sequenced
// packets: each message comes once, in order and whole. Several are under way at any time.
//
// subject: rounds 1 3
//
// SUBJECT_PROGRESS=FILE: as with selfcheck.c; one count for each process, the root's first.
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "subject.h"

enum { kMembers = 10, kUnderWay = 8, kLargest = 3000 };

typedef struct {
  uint64_t number;
  uint32_t length;
  uint32_t sum;
  unsigned char text[kLargest];
} Message;

enum { kHead = offsetof(Message, text) };

static int ends[kMembers][2];  // of the channel from member i to the next: where that one reads, where i writes
static _Atomic long* progress;

static void make_channel(int* channel, int kind) {
  if (kind == 0) {
    SUBJECT_NEED(pipe(channel) == 0);
  } else {
    SUBJECT_NEED(socketpair(AF_UNIX, kind == 1 ? SOCK_STREAM : SOCK_SEQPACKET, 0, channel) == 0);
  }
}

static uint32_t fill(Message* message, uint64_t number) {
  uint64_t state = number * 0x9e3779b97f4a7c15u + 1;
  message->number = number;
  message->length = 1 + (uint32_t)(state >> 40) % kLargest;
  uint32_t sum = 1;
  for (uint32_t i = 0; i < message->length; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    message->text[i] = (unsigned char)(state >> 56);
    sum = sum * 31 + message->text[i];
  }
  message->sum = sum;
  return kHead + message->length;
}

// Whoever kills the tree kills one after the other. A member whose neighbour is gone waits for its turn; if that never
// comes, the ring stands still, which whoever looks on sees.
static void need_neighbour(int is_there) {
  while (!is_there) pause();
}

static void send_message(int member, const Message* message, uint32_t bytes) {
  const char* from = (const char*)message;
  for (uint32_t done = 0; done < bytes;) {
    const ssize_t count = write(ends[member][1], from + done, bytes - done);
    if (count < 0 && errno == EINTR) continue;
    need_neighbour(count >= 0 || (errno != EPIPE && errno != ECONNRESET));
    SUBJECT_CHECK(count > 0, "member %d writes", member);
    done += (uint32_t)count;
  }
}

// 0: the end of all messages.
static uint32_t receive_some(int member, int number, void* to, uint32_t most) {
  ssize_t count;
  do {
    count = read(ends[number][0], to, most);
  } while (count < 0 && errno == EINTR);
  need_neighbour(count >= 0 || errno != ECONNRESET);
  SUBJECT_CHECK(count >= 0, "member %d reads", member);
  return (uint32_t)count;
}

static uint32_t receive_message(int member, Message* message) {
  const int channel = (member + kMembers - 1) % kMembers;
  const int is_packet = channel % 3 == 2;
  uint32_t bytes = 0;
  uint32_t wanted = is_packet ? sizeof *message : kHead;
  while (bytes < wanted) {
    const uint32_t count = receive_some(member, channel, (char*)message + bytes, wanted - bytes);
    if (count == 0 && bytes == 0) return 0;
    need_neighbour(count > 0);  // the end in the middle of a message
    bytes += count;
    if (is_packet) break;
    if (bytes == kHead) {
      SUBJECT_CHECK(message->length > 0 && message->length <= kLargest, "member %d: %u bytes", member, message->length);
      wanted = kHead + message->length;
    }
  }
  return bytes;
}

static void check_message(int member, const Message* message, uint32_t bytes, uint64_t number) {
  Message right;
  const uint32_t size = fill(&right, number);
  SUBJECT_CHECK(message->number == number, "member %d: message %lu instead of %lu", member,
                (unsigned long)message->number, (unsigned long)number);
  SUBJECT_CHECK(bytes == size && memcmp(message, &right, size) == 0, "member %d: message %lu is another one", member,
                (unsigned long)number);
}

static void close_others(int member) {
  const int reads = (member + kMembers - 1) % kMembers;
  for (int i = 0; i < kMembers; ++i) {
    if (i != reads) close(ends[i][0]);
    if (i != member) close(ends[i][1]);
  }
}

// Until there are no more.
static void hand_on(int member) {
  Message message;
  uint64_t number = 0;
  for (uint32_t bytes; (bytes = receive_message(member, &message)) != 0; ++number) {
    check_message(member, &message, bytes, number);
    send_message(member, &message, bytes);
    ++progress[member];
  }
  _exit(0);
}

static void tell_progress(void) {
  const char* path = getenv("SUBJECT_PROGRESS");
  if (path == NULL) return;
  FILE* file = fopen(path, "w");
  SUBJECT_NEED(file != NULL && fprintf(file, "%lu %d\n", (unsigned long)progress, kMembers) > 0 && fclose(file) == 0);
}

int main(void) {
  progress = mmap(NULL, kMembers * sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(progress != MAP_FAILED);
  for (int i = 0; i < kMembers; ++i) make_channel(ends[i], i % 3);
  for (int member = 1; member < kMembers; ++member) {
    const pid_t child = fork();
    SUBJECT_NEED(child >= 0);
    if (child != 0) continue;
    close_others(member);
    hand_on(member);
  }
  close_others(0);
  tell_progress();
  subject_announce();

  Message message;
  uint64_t sent = 0;
  for (; sent < kUnderWay; ++sent) send_message(0, &message, fill(&message, sent));
  for (uint64_t number = 0; number < sent; ++number) {
    const uint32_t bytes = receive_message(0, &message);
    need_neighbour(bytes > 0);
    check_message(0, &message, bytes, number);
    ++progress[0];
    if (number % 64 == 0) subject_sleep_ms(1);  // not all of a processor all the time
    if (!subject_may_go()) {
      send_message(0, &message, fill(&message, sent));
      ++sent;
    }
  }
  close(ends[0][1]);
  SUBJECT_CHECK(receive_message(0, &message) == 0, "more messages than were sent");
  for (int member = 1; member < kMembers; ++member) {
    int status = -1;
    const pid_t child = wait(&status);
    SUBJECT_CHECK(child > 0 && status == 0, "a member ended with %x", (unsigned)status);
  }
  subject_ok();
}
