// Checks itself all the time and on everything a checkpointer could spoil: integer, floating-point and vector
// arithmetic, system calls with results, blocking reads, futexes, timed waits, and signals in flight: queued from
// thread to thread, and from a timer to whichever thread the kernel takes, on an alternate stack. Says at once what
// went wrong.
//
// SUBJECT_PROGRESS=FILE: writes the address and the length of the array `progress` there, so that an onlooker can read
// from outside whether every thread goes on.
//
// SUBJECT_GROUPS=N: N times as many threads.
//
// SUBJECT_IDS=new: the ids are others after each restart.
//
// SUBJECT_MEMORY=N: N MiB of memory, of which some pages are rewritten all the time and others checked.
//
// SUBJECT_INTERRUPTIONS=N: so many timed waits may answer EINTR, as where a checkpointer was killed (docs/limits.md).
//
// subject: also-static
//
// subject: keeps-running 0.2
// subject: never-rests
//
// subject: ids namespace
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "subject.h"

enum { kLargestGroups = 8, kKinds = 11, kAlternateStackBytes = 65536 };

// The threads of a group work with each other.
typedef struct {
  _Atomic int turn;       // of the futex players
  int forth[2], back[2];  // pipes of the exchangers
  pthread_t receiver;
  _Atomic long sent, handled;
} Group;

typedef struct {
  int number;  // among all threads
  Group* group;
} Worker;

static _Atomic int stop;
static _Atomic long interruptions;
static _Atomic long alarms;
static int ids_change;                                      // at each restart
static _Atomic long progress[kLargestGroups * kKinds + 1];  // the last is the main thread's

// Every thread works in bursts: a machine with two processors is to have time for the checkpointer, too.
enum { kBurst = 16, kRestMilliseconds = 2 };

static void advance(int number) {
  if (++progress[number] % kBurst == 0) subject_sleep_ms(kRestMilliseconds);
}

// --- Arithmetic ---

__attribute__((noipa)) static uint64_t integer_chain(uint64_t state) {
  for (int i = 0; i < 2000; i++) state = state * 6364136223846793005u + 1442695040888963407u;
  return state;
}

__attribute__((noipa)) static double float_chain(double value) {
  for (int i = 0; i < 2000; i++) value = value * 0.999 + 1.0 / (value + i + 1);
  return value;
}

// The same with vectors of 16, 32 and 64 bytes, which stay in registers all along.
#define VECTOR_CHAIN(name, bytes, target)                                     \
  __attribute__((noipa)) target static float name(float seed) {               \
    enum { kLanes = bytes / sizeof(float) };                                  \
    typedef float Vector __attribute__((vector_size(bytes), aligned(bytes))); \
    Vector value, factor;                                                     \
    for (int i = 0; i < kLanes; i++) {                                        \
      value[i] = seed + (float)i;                                             \
      factor[i] = 0.5f + 0.03125f * (float)i;                                 \
    }                                                                         \
    for (int i = 0; i < 2000; i++) value = value * factor + 1.0f;             \
    float sum = 0;                                                            \
    for (int i = 0; i < kLanes; i++) sum += value[i];                         \
    return sum;                                                               \
  }
VECTOR_CHAIN(vector_chain_sse, 16, )
VECTOR_CHAIN(vector_chain_avx, 32, __attribute__((target("avx"))))
VECTOR_CHAIN(vector_chain_avx512, 64, __attribute__((target("avx512f"))))

static float vector_chain(float seed) {
  if (__builtin_cpu_supports("avx512f")) return vector_chain_avx512(seed);
  if (__builtin_cpu_supports("avx")) return vector_chain_avx(seed);
  return vector_chain_sse(seed);
}

static void* compute(void* argument) {
  const int number = ((Worker*)argument)->number;
  const uint64_t integer = integer_chain((uint64_t)number);
  const double real = float_chain(number);
  const float vector = vector_chain((float)number);
  while (!stop) {
    SUBJECT_CHECK(integer_chain((uint64_t)number) == integer, "thread %d: integer arithmetic", number);
    SUBJECT_CHECK(float_chain(number) == real, "thread %d: floating-point arithmetic", number);
    SUBJECT_CHECK(vector_chain((float)number) == vector, "thread %d: vector arithmetic", number);
    advance(number);
  }
  return NULL;
}

// --- System calls ---

static void* call(void* argument) {
  const int number = ((Worker*)argument)->number;
  int ends[2];
  SUBJECT_NEED(pipe(ends) == 0);
  const pid_t process = getpid(), thread = subject_thread_id();
  for (uint64_t round = 0; !stop; round++) {
    uint64_t text[64], back[64];
    for (int i = 0; i < 64; i++) text[i] = round * 64 + (uint64_t)i;
    SUBJECT_CHECK(write(ends[1], text, sizeof text) == sizeof text);
    SUBJECT_CHECK(read(ends[0], back, sizeof back) == sizeof back && memcmp(text, back, sizeof text) == 0, "the pipe");
    SUBJECT_CHECK(ids_change || (syscall(SYS_getpid) == process && syscall(SYS_gettid) == thread), "the ids");
    SUBJECT_CHECK(syscall(SYS_read, -1, text, 1) == -1 && errno == EBADF, "read of descriptor -1");
    struct stat status;
    SUBJECT_CHECK(stat("/", &status) == 0 && S_ISDIR(status.st_mode), "stat");
    const off_t position = lseek(ends[0], 0, SEEK_CUR);
    SUBJECT_CHECK(position == -1 && errno == ESPIPE, "lseek of a pipe gave %ld", (long)position);
    void* const page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SUBJECT_CHECK(page != MAP_FAILED && munmap(page, 8192) == 0, "mmap");
    advance(number);
  }
  close(ends[0]);
  close(ends[1]);
  return NULL;
}

// Two threads send numbers to and fro and block in read(2) meanwhile, which no stop may interrupt.
static void exchange(Worker* worker, int in, int out, int begins) {
  for (uint64_t value = 0;; value++) {
    if (begins && write(out, &value, sizeof value) != sizeof value) break;
    uint64_t seen = 0;
    const ssize_t got = read(in, &seen, sizeof seen);
    if (got == 0 && stop) break;
    SUBJECT_CHECK(got == sizeof seen && seen == value, "thread %d: read %zd bytes, %lu instead of %lu", worker->number,
                  got, seen, value);
    if (!begins) SUBJECT_CHECK(write(out, &value, sizeof value) == sizeof value);
    advance(worker->number);
    if (begins && stop) break;
  }
  close(out);
}

static void* exchange_first(void* argument) {
  Group* const group = ((Worker*)argument)->group;
  exchange(argument, group->back[0], group->forth[1], 1);
  return NULL;
}

static void* exchange_second(void* argument) {
  Group* const group = ((Worker*)argument)->group;
  exchange(argument, group->forth[0], group->back[1], 0);
  return NULL;
}

// --- Timed waits ---

static void* sleep_shortly(void* argument) {
  const int number = ((Worker*)argument)->number;
  while (!stop) {
    const double begin = subject_seconds(CLOCK_MONOTONIC);
    struct timespec time = {0, 3000000}, rest;
    int result = nanosleep(&time, &rest);
    while (result == -1 && errno == EINTR) {
      interruptions++;
      time = rest;
      result = nanosleep(&time, &rest);
    }
    SUBJECT_CHECK(result == 0, "nanosleep");
    const double took = subject_seconds(CLOCK_MONOTONIC) - begin;
    SUBJECT_CHECK(took > 0.0029, "a sleep of 3 ms took %f s", took);
    advance(number);
  }
  return NULL;
}

static void* poll_shortly(void* argument) {
  const int number = ((Worker*)argument)->number;
  int ends[2];
  SUBJECT_NEED(pipe(ends) == 0);
  while (!stop) {
    struct pollfd wanted = {.fd = ends[0], .events = POLLIN};
    const double begin = subject_seconds(CLOCK_MONOTONIC);
    const int result = poll(&wanted, 1, 3);
    const double took = subject_seconds(CLOCK_MONOTONIC) - begin;
    SUBJECT_CHECK(result == 0 || (result == -1 && errno == EINTR), "poll of an empty pipe gave %d", result);
    SUBJECT_CHECK(result == -1 || took > 0.0019, "a wait of 3 ms took %f s", took);
    if (result == -1) interruptions++;
    advance(number);
  }
  close(ends[0]);
  close(ends[1]);
  return NULL;
}

// Two threads hand a number to and fro.
static void* play(void* argument) {
  const int number = ((Worker*)argument)->number, side = number % 2;
  _Atomic int* const turn = &((Worker*)argument)->group->turn;
  while (!stop) {
    const int seen = *turn;
    if (seen % 2 == side) {
      *turn = seen + 1;
      syscall(SYS_futex, turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
      advance(number);
      continue;
    }
    const struct timespec limit = {0, 200000000};
    const long result = syscall(SYS_futex, turn, FUTEX_WAIT_PRIVATE, seen, &limit, NULL, 0);
    SUBJECT_CHECK(result == 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT, "futex returned %ld", result);
    if (result != 0 && errno == EINTR) interruptions++;
  }
  return NULL;
}

// --- Signals ---

static __thread Group* group_of_receiver;
static __thread volatile long received;
static __thread volatile int expected_value;

static void on_queued(int number, siginfo_t* info, void* context) {
  (void)context;
  SUBJECT_CHECK(number == SIGRTMIN && info->si_code == SI_QUEUE, "signal %d with code %d", number, info->si_code);
  SUBJECT_CHECK(info->si_value.sival_int == expected_value, "signal value %d instead of %d", info->si_value.sival_int,
                expected_value);
  expected_value++;
  received++;
  group_of_receiver->handled++;
  vector_chain((float)number);
}

static void* receive(void* argument) {
  const int number = ((Worker*)argument)->number;
  Group* const group = ((Worker*)argument)->group;
  const double real = float_chain(number);
  group_of_receiver = group;
  sigset_t queued;
  sigemptyset(&queued);
  sigaddset(&queued, SIGRTMIN);
  pthread_sigmask(SIG_UNBLOCK, &queued, NULL);
  for (long round = 1; !stop || group->handled < group->sent; round++) {
    SUBJECT_CHECK(float_chain(number) == real, "floating-point arithmetic under signals");
    progress[number] = received;
    if (round % kBurst == 0) subject_sleep_ms(kRestMilliseconds);
  }
  return NULL;
}

static void* send(void* argument) {
  const int number = ((Worker*)argument)->number;
  Group* const group = ((Worker*)argument)->group;
  enum { kRounds = 10 };
  int failures = 0;
  for (int value = 0; !stop;) {
    if (group->sent - group->handled < 20) {
      const int result = pthread_sigqueue(group->receiver, SIGRTMIN, (union sigval){.sival_int = value});
      // The C library may just have had an id of before a restart in a register.
      if (result == ESRCH && ids_change && failures++ < kRounds) continue;
      SUBJECT_CHECK(result == 0, "pthread_sigqueue returned %d", result);
      value++;
      group->sent++;
      advance(number);
    } else {
      subject_sleep_ms(1);
    }
  }
  return NULL;
}

static void on_alarm(int number) {
  static _Atomic float wanted;
  const int error_before = errno;
  const float vector = vector_chain((float)number);
  if (wanted == 0) wanted = vector;
  SUBJECT_CHECK(vector == wanted, "vector arithmetic in a handler");
  alarms++;
  errno = error_before;
}

// --- The whole ---

typedef struct {
  void* (*work)(void*);
  int takes_alarms;  // timed waits would be interrupted by them
} Kind;
static const Kind kKind[kKinds] = {{compute, 1},      {compute, 1},        {call, 1},           {sleep_shortly, 0},
                                   {play, 0},         {play, 0},           {receive, 1},        {send, 0},
                                   {poll_shortly, 0}, {exchange_first, 1}, {exchange_second, 1}};

static Group groups[kLargestGroups];
static Worker workers[kLargestGroups * kKinds];

static void* work(void* argument) {
  const int number = ((Worker*)argument)->number;
  const Kind* const kind = &kKind[number % kKinds];
  stack_t stack = {.ss_sp = malloc(kAlternateStackBytes), .ss_size = kAlternateStackBytes};
  SUBJECT_NEED(stack.ss_sp != NULL && sigaltstack(&stack, NULL) == 0);
  sigset_t alarm_signal;
  sigemptyset(&alarm_signal);
  sigaddset(&alarm_signal, SIGALRM);
  if (kind->takes_alarms) pthread_sigmask(SIG_UNBLOCK, &alarm_signal, NULL);
  void* const result = kind->work(argument);
  pthread_sigmask(SIG_BLOCK, &alarm_signal, NULL);
  stack.ss_flags = SS_DISABLE;
  SUBJECT_CHECK(sigaltstack(&stack, NULL) == 0);
  free(stack.ss_sp);
  return result;
}

// --- Memory ---

enum { kPageWords = 512, kWrites = 8, kChecks = 32 };

static uint64_t* memory;   // pages of one number each
static uint64_t* written;  // which
static size_t memory_pages;

static void fill_page(size_t page, uint64_t number) {
  for (size_t i = 0; i < kPageWords; i++) memory[page * kPageWords + i] = number;
  written[page] = number;
}

static void check_page(size_t page) {
  for (size_t i = 0; i < kPageWords; i++) {
    SUBJECT_CHECK(memory[page * kPageWords + i] == written[page], "word %zu of page %zu is %lx instead of %lx", i, page,
                  (unsigned long)memory[page * kPageWords + i], (unsigned long)written[page]);
  }
}

static void prepare_memory(void) {
  const char* const wanted = getenv("SUBJECT_MEMORY");
  memory_pages = wanted != NULL ? strtoul(wanted, NULL, 10) << 20 >> 12 : 0;
  if (memory_pages == 0) return;
  memory = mmap(NULL, memory_pages << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  written = calloc(memory_pages, sizeof *written);
  SUBJECT_NEED(memory != MAP_FAILED && written != NULL);
  for (size_t page = 0; page < memory_pages; page++) fill_page(page, page + 1);
}

static void use_memory(void) {
  static uint64_t random = 1;
  for (int i = 0; i < kWrites + kChecks && memory_pages > 0; i++) {
    random = random * 6364136223846793005 + 1442695040888963407;
    const size_t page = (random >> 33) % memory_pages;
    if (i < kWrites) {
      fill_page(page, random);
    } else {
      check_page(page);
    }
  }
}

static void check_memory(void) {
  for (size_t page = 0; page < memory_pages; page++) check_page(page);
}

static void tell_progress(int count) {
  const char* path = getenv("SUBJECT_PROGRESS");
  if (path == NULL) return;
  FILE* const file = fopen(path, "we");
  SUBJECT_NEED(file != NULL && fprintf(file, "%lu %d\n", (unsigned long)progress, count) > 0 && fclose(file) == 0);
}

static void set_signals(void) {
  const struct sigaction queued = {.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART};
  const struct sigaction alarm_action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART | SA_ONSTACK};
  SUBJECT_NEED(sigaction(SIGRTMIN, &queued, NULL) == 0 && sigaction(SIGALRM, &alarm_action, NULL) == 0);
  // Threads inherit this and unblock what is theirs.
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGALRM);
  sigaddset(&blocked, SIGRTMIN);
  SUBJECT_NEED(pthread_sigmask(SIG_BLOCK, &blocked, NULL) == 0);
  const struct itimerval often = {{0, 1500}, {0, 1500}};
  SUBJECT_NEED(setitimer(ITIMER_REAL, &often, NULL) == 0);
}

int main(void) {
  const char* const wanted_groups = getenv("SUBJECT_GROUPS");
  const int group_count = wanted_groups != NULL ? atoi(wanted_groups) : 1;
  SUBJECT_NEED(group_count >= 1 && group_count <= kLargestGroups);
  ids_change = getenv("SUBJECT_IDS") != NULL && strcmp(getenv("SUBJECT_IDS"), "new") == 0;
  const int count = group_count * kKinds;
  prepare_memory();
  set_signals();
  pthread_t threads[kLargestGroups * kKinds];
  for (int i = 0; i < count; i++) {
    Group* const group = &groups[i / kKinds];
    if (i % kKinds == 0) SUBJECT_NEED(pipe(group->forth) == 0 && pipe(group->back) == 0);
    workers[i] = (Worker){i, group};
    // A receiver's id is known before the sender starts.
    SUBJECT_NEED(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    if (kKind[i % kKinds].work == receive) group->receiver = threads[i];
  }
  for (int i = 0; i < count; i++) {
    while (progress[i] == 0) subject_sleep_ms(1);
  }
  while (alarms == 0) subject_sleep_ms(1);
  progress[count] = 1;
  tell_progress(count + 1);
  subject_announce();
  for (long before = alarms; !subject_may_go(); before = alarms) {
    subject_sleep_ms(4);
    use_memory();
    progress[count] += alarms != before;
  }
  check_memory();
  stop = 1;
  for (int i = 0; i < group_count; i++) {
    groups[i].turn += 2;
    syscall(SYS_futex, &groups[i].turn, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0);
  }
  for (int i = 0; i < count; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  for (int i = 0; i < group_count; i++) {
    SUBJECT_CHECK(groups[i].handled == groups[i].sent, "%ld signals sent, %ld handled", groups[i].sent,
                  groups[i].handled);
  }
  const char* const allowed = getenv("SUBJECT_INTERRUPTIONS");
  SUBJECT_CHECK(interruptions <= (allowed != NULL ? atol(allowed) : 0), "%ld waits were interrupted", interruptions);
  subject_ok();
}
