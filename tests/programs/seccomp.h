// What the subjects of seccomp(2) share: filters made of lists of calls.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "subject.h"

enum { SECCOMP_MOST_CALLS = 40 };

struct seccomp_filter {
  struct sock_filter code[2 * SECCOMP_MOST_CALLS + 2];
  unsigned short length;
};

static inline void seccomp_add(struct seccomp_filter* filter, struct sock_filter instruction) {
  filter->code[filter->length++] = instruction;
}

static inline struct seccomp_filter seccomp_begin(void) {
  struct seccomp_filter filter = {.length = 0};
  seccomp_add(&filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
  return filter;
}

static inline void seccomp_answer(struct seccomp_filter* filter, long call, unsigned action) {
  seccomp_add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1));
  seccomp_add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static inline void seccomp_end(struct seccomp_filter* filter, unsigned action) {
  seccomp_add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

// All calls are allowed but one.
static inline struct seccomp_filter seccomp_refuse(long call, unsigned action) {
  struct seccomp_filter filter = seccomp_begin();
  seccomp_answer(&filter, call, action);
  seccomp_end(&filter, SECCOMP_RET_ALLOW);
  return filter;
}

// Puts it around the calling thread; with SECCOMP_FILTER_FLAG_TSYNC around all. As seccomp(2).
static inline long seccomp_put(struct seccomp_filter filter, unsigned flags) {
  struct sock_fprog program = {filter.length, filter.code};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

// The same, with what an ordinary user needs for it.
static inline void seccomp_need(struct seccomp_filter filter, unsigned flags) {
  SUBJECT_NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  SUBJECT_NEED(seccomp_put(filter, flags) == 0);
}

// That a call is refused so; with 0, that it is not.
static inline void seccomp_check(long call, int error) {
  errno = 0;
  const long result = syscall(call);
  SUBJECT_CHECK(error == 0 ? result >= 0 : result == -1 && errno == error, "call %ld gives %ld", call, result);
}
