// Whether this kernel and machine can do something at all, where those that cannot fault: for programs that skip then.
#ifndef CRS_TESTS_PROGRAMS_FAULTS_H
#define CRS_TESTS_PROGRAMS_FAULTS_H

#include <setjmp.h>
#include <signal.h>

#include "subject.h"

static sigjmp_buf faults_return;

static inline void faults_on_signal(int signal) {
  (void)signal;
  siglongjmp(faults_return, 1);
}

// SIGSEGV is at its default action before and afterwards.
static inline int faults(void (*attempt)(void)) {
  struct sigaction action = {.sa_handler = faults_on_signal}, before;
  SUBJECT_NEED(sigaction(SIGSEGV, &action, &before) == 0);
  volatile int faulted = 1;
  if (sigsetjmp(faults_return, 1) == 0) {
    attempt();
    faulted = 0;
  }
  SUBJECT_NEED(sigaction(SIGSEGV, &before, NULL) == 0);
  return faulted;
}

#endif
