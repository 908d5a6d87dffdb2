// Finding and calling functions of the vDSO as a C library does (vdso(7)): by its symbol table, once, at the start.
#pragma once

#include <elf.h>
#include <sys/auxv.h>

#include "memory.h"

typedef int (*vdso_clock_gettime)(clockid_t, struct timespec*);

static inline uintptr_t vdso_place(void) { return getauxval(AT_SYSINFO_EHDR); }

static inline vdso_clock_gettime vdso_find_clock_gettime(uintptr_t place) {
  const Elf64_Ehdr* const header = (const Elf64_Ehdr*)place;
  const Elf64_Shdr* const sections = (const Elf64_Shdr*)(place + header->e_shoff);
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_DYNSYM) continue;
    const Elf64_Sym* const symbols = (const Elf64_Sym*)(place + sections[i].sh_offset);
    const char* const names = (const char*)(place + sections[sections[i].sh_link].sh_offset);
    for (size_t k = 0; k < sections[i].sh_size / sizeof *symbols; ++k) {
      if (strcmp(names + symbols[k].st_name, "__vdso_clock_gettime") == 0)
        return (vdso_clock_gettime)(place + symbols[k].st_value);
    }
  }
  subject_fail("the vDSO has no clock_gettime");
}

static inline double vdso_seconds(vdso_clock_gettime clock, clockid_t which) {
  struct timespec time;
  SUBJECT_CHECK(clock(which, &time) == 0);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

// The vDSO tells the same time as the kernel, for every clock, and goes on.
static inline void vdso_check_clock(vdso_clock_gettime clock) {
  const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID};
  for (size_t i = 0; i < sizeof clocks / sizeof *clocks; ++i) {
    struct timespec time;
    SUBJECT_CHECK(syscall(SYS_clock_gettime, clocks[i], &time) == 0);
    const double first = (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
    const double second = vdso_seconds(clock, clocks[i]);
    SUBJECT_CHECK(syscall(SYS_clock_gettime, clocks[i], &time) == 0);
    const double third = (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
    SUBJECT_CHECK(first <= second && second <= third, "clock %d: %.9f, by the vDSO %.9f, %.9f", (int)clocks[i], first,
                  second, third);
  }
  for (double now = vdso_seconds(clock, CLOCK_MONOTONIC), start = now; now <= start;)
    now = vdso_seconds(clock, CLOCK_MONOTONIC);
}
