// A 32-bit program (no C library: none is needed on the build machine for it).
// subject: compile-options -m32 -ffreestanding -fno-pic -fno-pie -fno-stack-protector -O2
// subject: link -m32 -nostdlib -static -no-pie
// subject: refused 32-bit
#define CALL(number, a, b, c)                                                                      \
  ({                                                                                               \
    int result;                                                                                    \
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory"); \
    result;                                                                                        \
  })
enum {
  kExit = 1,
  kWrite = 4,
  kOpen = 5,
  kClose = 6,
  kAccess = 33,
  kNanosleep = 162,
  kAppendOrCreate = 02000 | 0100 | 1
};

static const char* find(char** environment, const char* name) {
  for (; *environment != 0; environment++) {
    const char *entry = *environment, *wanted = name;
    while (*wanted != 0 && *entry == *wanted) entry++, wanted++;
    if (*wanted == 0) return entry;
  }
  CALL(kExit, 2, 0, 0);
  return 0;
}

static void say(const char* status, const char* line, int length) {
  const int file = CALL(kOpen, status, kAppendOrCreate, 0666);
  CALL(kWrite, file, line, length);
  CALL(kClose, file, 0, 0);
}

__attribute__((used)) static void run(int* stack) {
  char** environment = (char**)(stack + 1 + *stack + 1);
  const char* status = find(environment, "SUBJECT_STATUS=");
  const char* go = find(environment, "SUBJECT_GO=");
  say(status, "ready\n", 6);
  while (CALL(kAccess, go, 0, 0) != 0) {
    int time[2] = {0, 2000000};
    CALL(kNanosleep, time, 0, 0);
  }
  say(status, "ok\n", 3);
  CALL(kExit, 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %esp, %eax\n and $-16, %esp\n sub $12, %esp\n push %eax\n call run\n");
