// Threads that hold fixed values in every vector, mask and x87 register for the whole time, in a loop that touches no
// memory but a flag.
// subject: also-static
// subject: keeps-running 0.05
// subject: never-rests
// subject: needs avx2
#include <pthread.h>
#include <stdint.h>

#include "subject.h"

enum { kThreads = 3 };
static volatile char stop;

struct Registers {
  uint8_t vectors[32][64] __attribute__((aligned(64)));
  uint64_t masks[8];
  double x87[8];
  uint32_t mxcsr;
  uint16_t control;
};

#define EACH16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define EACH32(X) \
  EACH16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define EACH_MASK(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define LOAD_YMM(n) "vmovdqa " #n "*64(%[in]), %%ymm" #n "\n"
#define STORE_YMM(n) "vmovdqa %%ymm" #n ", " #n "*64(%[out])\n"
#define LOAD_ZMM(n) "vmovdqa64 " #n "*64(%[in]), %%zmm" #n "\n"
#define STORE_ZMM(n) "vmovdqa64 %%zmm" #n ", " #n "*64(%[out])\n"
#define LOAD_MASK(n) "kmovq " #n "*8(%[in_masks]), %%k" #n "\n"
#define STORE_MASK(n) "kmovq %%k" #n ", " #n "*8(%[out_masks])\n"
#define SPIN "1: pause\n cmpb $0, (%[flag])\n je 1b\n"

static void hold_x87_and_ymm(const struct Registers* in, struct Registers* out) {
  for (int i = 0; i < 8; i++) __asm__ volatile("fldl %0" : : "m"(in->x87[i]));
  __asm__ volatile("ldmxcsr %0\n fldcw %1" : : "m"(in->mxcsr), "m"(in->control));
  __asm__ volatile(EACH16(LOAD_YMM) SPIN EACH16(STORE_YMM) "vzeroupper\n"
                   :
                   : [in] "r"(in->vectors), [out] "r"(out->vectors), [flag] "r"(&stop)
                   : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                     "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  __asm__ volatile("stmxcsr %0\n fnstcw %1" : "=m"(out->mxcsr), "=m"(out->control));
  for (int i = 7; i >= 0; i--) __asm__ volatile("fstpl %0" : "=m"(out->x87[i]));
}

__attribute__((target("avx512f,avx512bw"))) static void hold_zmm(const struct Registers* in, struct Registers* out) {
  __asm__ volatile(EACH32(LOAD_ZMM) EACH_MASK(LOAD_MASK) SPIN EACH32(STORE_ZMM) EACH_MASK(STORE_MASK) "vzeroupper\n"
                   :
                   : [in] "r"(in->vectors), [out] "r"(out->vectors), [in_masks] "r"(in->masks),
                     [out_masks] "r"(out->masks), [flag] "r"(&stop)
                   : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                     "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21",
                     "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1",
                     "k2", "k3", "k4", "k5", "k6", "k7");
}

static int has_avx512(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

static void* run(void* argument) {
  const int number = (int)(intptr_t)argument;
  static struct Registers all[kThreads][2];
  struct Registers *in = &all[number][0], *out = &all[number][1];
  for (int i = 0; i < 32; i++) {
    for (int j = 0; j < 64; j++) in->vectors[i][j] = (uint8_t)(number * 89 + i * 67 + j * 3 + 1);
  }
  for (int i = 0; i < 8; i++) {
    in->masks[i] = 0x0123456789abcdefu * (uint64_t)(i + number + 1);
    in->x87[i] = number + i * 1.25;
  }
  // Rounding towards zero and flush-to-zero; x87 with 53 bits, rounding down. Both unlike the defaults.
  in->mxcsr = 0x1f80 | 0x6000 | 0x8000;
  in->control = 0x067f;
  const int wide = number % 2 == 1 && has_avx512();
  if (wide) {
    hold_zmm(in, out);
    SUBJECT_CHECK(memcmp(in->vectors, out->vectors, sizeof in->vectors) == 0, "thread %d: zmm registers changed",
                  number);
    SUBJECT_CHECK(memcmp(in->masks + 1, out->masks + 1, 7 * 8) == 0, "thread %d: mask registers changed", number);
  } else {
    hold_x87_and_ymm(in, out);
    for (int i = 0; i < 16; i++) {
      SUBJECT_CHECK(memcmp(in->vectors[i], out->vectors[i], 32) == 0, "thread %d: ymm%d changed", number, i);
    }
    for (int i = 0; i < 8; i++)
      SUBJECT_CHECK(in->x87[i] == out->x87[i], "thread %d: x87 value %d became %f", number, i, out->x87[i]);
    SUBJECT_CHECK((in->mxcsr & ~0x3fu) == (out->mxcsr & ~0x3fu), "thread %d: MXCSR %x became %x", number, in->mxcsr,
                  out->mxcsr);
    SUBJECT_CHECK(in->control == out->control, "thread %d: x87 control word %x became %x", number, in->control,
                  out->control);
  }
  return NULL;
}

int main(void) {
  pthread_t threads[kThreads];
  for (intptr_t i = 0; i < kThreads; i++) SUBJECT_NEED(pthread_create(&threads[i], NULL, run, (void*)i) == 0);
  subject_ready();
  stop = 1;
  for (int i = 0; i < kThreads; i++) SUBJECT_CHECK(pthread_join(threads[i], NULL) == 0);
  subject_ok();
}
