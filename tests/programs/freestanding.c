// A static program without any C library: none of its code is where a checkpointer might expect it.
// subject: compile-options -ffreestanding -fno-pic -fno-pie -fno-stack-protector -O2
// subject: link -nostdlib -static -no-pie
// subject: refused no code that returns from a signal handler
static long call(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}
enum {
  kWrite = 1,
  kOpen = 2,
  kClose = 3,
  kAccess = 21,
  kNanosleep = 35,
  kGetpid = 39,
  kExit = 60,
  kAppendOrCreate = 02000 | 0100 | 1
};

static const char* find(char** environment, const char* name) {
  for (; *environment != 0; environment++) {
    const char *entry = *environment, *wanted = name;
    while (*wanted != 0 && *entry == *wanted) entry++, wanted++;
    if (*wanted == 0) return entry;
  }
  call(kExit, 2, 0, 0);
  return 0;
}

static void say(const char* status, const char* line, long length) {
  const long file = call(kOpen, (long)status, kAppendOrCreate, 0666);
  call(kWrite, file, (long)line, length);
  call(kClose, file, 0, 0);
}

__attribute__((used)) static void run(long* stack) {
  char** environment = (char**)(stack + 1 + *stack + 1);
  const char* status = find(environment, "SUBJECT_STATUS=");
  const char* go = find(environment, "SUBJECT_GO=");
  const long pid = call(kGetpid, 0, 0, 0);
  say(status, "ready\n", 6);
  while (call(kAccess, (long)go, 0, 0) != 0) {
    long time[2] = {0, 2000000};
    call(kNanosleep, (long)time, 0, 0);
  }
  if (call(kGetpid, 0, 0, 0) != pid) {
    say(status, "failed: another pid\n", 20);
    call(kExit, 1, 0, 0);
  }
  say(status, "ok\n", 3);
  call(kExit, 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call run\n");
