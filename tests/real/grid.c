// Heat on a grid, in double precision, with a checksum in the log at every step. Linked statically.
//     grid STEPS        appends to steps.log, writes result.bin, prints a summary, exits with 11
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kSide = 700 };

static uint64_t checksum(const double* cells, size_t count) {
  uint64_t sum = 14695981039346656037u;
  for (size_t i = 0; i < count; ++i) {
    uint64_t bits;
    memcpy(&bits, &cells[i], sizeof bits);
    sum = (sum ^ bits) * 1099511628211u;
  }
  return sum;
}

static void step(const double* from, double* to) {
  for (size_t y = 1; y + 1 < kSide; ++y) {
    for (size_t x = 1; x + 1 < kSide; ++x) {
      const double* cell = &from[y * kSide + x];
      to[y * kSide + x] = 0.2 * (cell[0] + cell[-1] + cell[1] + cell[-kSide] + cell[kSide]) + 1e-6 * sin(cell[0]);
    }
  }
}

int main(int count, char** arguments) {
  const int steps = count > 1 ? atoi(arguments[1]) : 100;
  const size_t cells = (size_t)kSide * kSide;
  double* now = calloc(cells, sizeof *now);
  double* next = calloc(cells, sizeof *next);
  const int log = open("steps.log", O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (now == NULL || next == NULL || log < 0) return 1;
  for (size_t i = 0; i < cells; ++i) now[i] = (double)((i * 2654435761u) % 1000);
  for (int i = 0; i < steps; ++i) {
    step(now, next);
    double* swap = now;
    now = next;
    next = swap;
    dprintf(log, "%d %016llx\n", i, (unsigned long long)checksum(now, cells));
  }
  FILE* result = fopen("result.bin", "w");
  if (result == NULL || fwrite(now, sizeof *now, cells, result) != cells || fclose(result) != 0) return 1;
  printf("%d steps, %.17g in the middle\n", steps, now[cells / 2 + kSide / 2]);
  return 11;
}
