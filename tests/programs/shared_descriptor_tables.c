// Processes that have one descriptor table (clone(2) with CLONE_FILES): what one opens or closes, the other has open or
// closed. Parent and child; two siblings alone; a grandchild without the process between them. Files that they map,
// locks and close-on-exec flags besides.
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "subject.h"

enum { kMembers = 6, kParent = 0, kChild, kSibling, kTwin, kBetween, kGrandchild };

struct order {
  int number;  // to be opened (>0), or closed (<0)
  int done;
  int result;
};

struct board {
  struct order orders[kMembers];
  int ready[kMembers];
  int over;
};

static struct board* board;
static char path[64];

static int is_open(int number) { return fcntl(number, F_GETFD) >= 0; }

static pid_t make(unsigned long long flags) {
  struct clone_args how = {.flags = flags, .exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD};
  const pid_t child = (pid_t)syscall(SYS_clone3, &how, sizeof how);
  SUBJECT_NEED(child >= 0);
  return child;
}

// Does what it is told.
static void carry_out(struct order* order) {
  const int number = order->number;
  if (number > 0) {
    const int file = open(path, O_RDONLY);
    order->result = file >= 0 && dup2(file, number) == number && close(file) == 0;
  } else {
    order->result = close(-number) == 0;
  }
  order->number = 0;
  __atomic_store_n(&order->done, 1, __ATOMIC_RELEASE);
}

static void serve(int member) {
  __atomic_store_n(&board->ready[member], 1, __ATOMIC_RELEASE);
  while (!__atomic_load_n(&board->over, __ATOMIC_ACQUIRE)) {
    if (__atomic_load_n(&board->orders[member].number, __ATOMIC_ACQUIRE) != 0) carry_out(&board->orders[member]);
    subject_sleep_ms(1);
  }
  _exit(0);
}

static void await_member(int member) {
  while (!__atomic_load_n(&board->ready[member], __ATOMIC_ACQUIRE)) subject_sleep_ms(1);
}

static void tell(int member, int number) {
  struct order* const order = &board->orders[member];
  order->done = 0;
  __atomic_store_n(&order->number, number, __ATOMIC_RELEASE);
  while (!__atomic_load_n(&order->done, __ATOMIC_ACQUIRE)) subject_sleep_ms(1);
  SUBJECT_CHECK(order->result, "member %d, number %d", member, number);
}

static int has(pid_t pid, int number) {
  char link[64];
  struct stat there;
  snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, number);
  return lstat(link, &there) == 0;
}

int main(void) {
  board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(board != MAP_FAILED);
  // Closing a file gives up the locks on it (fcntl(2)): the locked one is not what the members open.
  snprintf(path, sizeof path, "%s.locked", subject_environment("SUBJECT_STATUS"));
  const int locked = open(path, O_RDWR | O_CREAT, 0600);
  SUBJECT_NEED(locked >= 0 && fcntl(locked, F_SETLK, &(struct flock){.l_type = F_WRLCK, .l_len = 3}) == 0);
  snprintf(path, sizeof path, "%s.file", subject_environment("SUBJECT_STATUS"));
  const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  SUBJECT_NEED(file >= 0 && write(file, "content", 7) == 7 && dup2(file, 90) == 90);
  const char* const mapped = mmap(NULL, 7, PROT_READ, MAP_PRIVATE, file, 0);
  SUBJECT_NEED(mapped != MAP_FAILED);

  const pid_t child = make(CLONE_FILES);
  if (child == 0) serve(kChild);
  // A sibling, and one that shares its table with it: not the parent's.
  const pid_t sibling = make(0);
  if (sibling == 0) {
    if (make(CLONE_FILES | CLONE_PARENT) == 0) serve(kTwin);
    serve(kSibling);
  }
  // The grandchild has the parent's, the process between them one of its own.
  const pid_t between = make(CLONE_FILES);
  if (between == 0) {
    if (make(CLONE_FILES) == 0) serve(kGrandchild);
    await_member(kGrandchild);
    SUBJECT_NEED(unshare(CLONE_FILES) == 0);
    serve(kBetween);
  }
  for (int member = kChild; member < kMembers; ++member) await_member(member);
  tell(kChild, 100);
  tell(kTwin, 101);
  tell(kGrandchild, 102);
  tell(kBetween, 103);
  SUBJECT_NEED(is_open(100) && !is_open(101) && is_open(102) && !is_open(103));

  subject_ready();

  // As it was.
  SUBJECT_CHECK(is_open(90) && is_open(100) && !is_open(101) && is_open(102) && !is_open(103));
  SUBJECT_CHECK(has(child, 100) && has(sibling, 101) && !has(sibling, 100) && has(between, 103) && !has(between, 102));
  SUBJECT_CHECK(fcntl(file, F_GETFD) == FD_CLOEXEC && fcntl(90, F_GETFD) == 0);
  SUBJECT_CHECK(memcmp(mapped, "content", 7) == 0);
  // And shared.
  tell(kChild, 110);
  SUBJECT_CHECK(is_open(110), "what the child has opened");
  tell(kGrandchild, -110);
  SUBJECT_CHECK(!is_open(110), "what the grandchild has closed");
  SUBJECT_CHECK(dup2(90, 111) == 111);
  tell(kChild, -111);
  SUBJECT_CHECK(!is_open(111));
  tell(kSibling, 112);
  SUBJECT_CHECK(!is_open(112) && has(sibling, 112) && !has(child, 112));
  tell(kTwin, -112);
  SUBJECT_CHECK(!has(sibling, 112), "what the sibling's twin has closed");
  tell(kBetween, 113);
  SUBJECT_CHECK(!is_open(113) && !has(sibling, 113));
  // Nothing of the restart's own stands in them.
  for (int number = 0; number < 1000; ++number) {
    const int known =
        number <= 2 || number == file || number == locked || number == 90 || number == 100 || number == 102;
    SUBJECT_CHECK(known || !is_open(number), "descriptor %d", number);
  }
  // The lock is the table's: nobody of another one gets it.
  const pid_t other = make(0);
  if (other == 0) {
    struct flock lock = {.l_type = F_WRLCK, .l_len = 1};
    _exit(fcntl(locked, F_GETLK, &lock) == 0 && lock.l_type == F_WRLCK ? 0 : 1);
  }
  int status = 0;
  SUBJECT_CHECK(waitpid(other, &status, 0) == other && status == 0, "the lock is gone");
  board->over = 1;
  SUBJECT_CHECK(waitpid(child, NULL, 0) == child && waitpid(between, NULL, 0) == between);
  subject_ok();
}
