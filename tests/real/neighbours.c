// An MPI program: every process smooths its part of a ring of numbers and exchanges the ends with its neighbours; the
// first one collects a sum now and then, and everything at the end.
//     neighbours STEPS     appends to steps.log, writes result.bin, prints a summary
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { kCells = 20000, kToNext, kToPrevious };

// The cells at 0 and kCells + 1 are copies of the neighbours' ends.
static void exchange_ends(double* cells, int previous, int next) {
  MPI_Sendrecv(&cells[kCells], 1, MPI_DOUBLE, next, kToNext, &cells[0], 1, MPI_DOUBLE, previous, kToNext,
               MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  MPI_Sendrecv(&cells[1], 1, MPI_DOUBLE, previous, kToPrevious, &cells[kCells + 1], 1, MPI_DOUBLE, next, kToPrevious,
               MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void smooth(const double* from, double* to) {
  for (int i = 1; i <= kCells; ++i) to[i] = 0.25 * from[i - 1] + 0.5 * from[i] + 0.25 * from[i + 1];
}

// Of all processes; known to the first one.
static double weighted_sum(const double* cells) {
  double own = 0;
  double all = 0;
  for (int i = 1; i <= kCells; ++i) own += cells[i] * i;
  MPI_Reduce(&own, &all, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
  return all;
}

static void write_all(const double* cells, int rank, int size) {
  const size_t count = (size_t)kCells * (size_t)size;
  double* all = rank == 0 ? malloc(count * sizeof *all) : NULL;
  MPI_Gather(&cells[1], kCells, MPI_DOUBLE, all, kCells, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  if (rank != 0) return;
  FILE* result = fopen("result.bin", "w");
  if (result == NULL || fwrite(all, sizeof *all, count, result) != count || fclose(result) != 0) exit(1);
  printf("%d processes, %.17g in the middle\n", size, all[count / 2]);
  free(all);
}

int main(int count, char** arguments) {
  MPI_Init(&count, &arguments);
  int rank;
  int size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const int steps = count > 1 ? atoi(arguments[1]) : 100;
  double* now = calloc(kCells + 2, sizeof *now);
  double* next = calloc(kCells + 2, sizeof *next);
  FILE* log = rank == 0 ? fopen("steps.log", "a") : NULL;
  if (now == NULL || next == NULL || (rank == 0 && log == NULL)) exit(1);
  for (int i = 1; i <= kCells; ++i) now[i] = (rank * kCells + i) * 2654435761u % 1000;
  for (int step = 0; step < steps; ++step) {
    exchange_ends(now, (rank + size - 1) % size, (rank + 1) % size);
    smooth(now, next);
    double* swap = now;
    now = next;
    next = swap;
    if (step % 10 != 0) continue;
    const double sum = weighted_sum(now);
    if (log != NULL && (fprintf(log, "%d %.17g\n", step, sum) < 0 || fflush(log) != 0)) exit(1);
  }
  write_all(now, rank, size);
  MPI_Finalize();
  return 0;
}
