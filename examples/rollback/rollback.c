/* A program that undoes its own work: it takes a snapshot, goes on with its threads, and then becomes again what it
 * was at the snapshot, with the same process id. Ten times in a row; then it lets the work stand.
 *
 *   rollback FILE
 *
 * What is to outlive a rollback cannot be in memory: FILE counts the attempts. */
#include <crs/crs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { kThreads = 3, kAttempts = 10, kSteps = 1000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long allowed; /* steps that each thread may do */
static long done[kThreads];

static void fail(const char* what) {
  fprintf(stderr, "rollback: %s: %s\n", what, crs_error_text());
  exit(1);
}

static void* work(void* argument) {
  long* const mine = (long*)argument;
  for (;;) {
    pthread_mutex_lock(&mutex);
    while (*mine == allowed) pthread_cond_wait(&changed, &mutex);
    ++*mine;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
  }
  return NULL;
}

static long total(void) {
  long sum = 0;
  int i;
  for (i = 0; i < kThreads; ++i) sum += done[i];
  return sum;
}

/* Lets every thread do so many steps more. */
static void advance(long steps) {
  pthread_mutex_lock(&mutex);
  allowed += steps;
  pthread_cond_broadcast(&changed);
  while (total() != kThreads * allowed) pthread_cond_wait(&changed, &mutex);
  pthread_mutex_unlock(&mutex);
}

/* Adds one to the number in the file, and returns it. The file is not open while a snapshot is taken: one that is would
 * be brought back to its length, too. */
static int count(const char* file) {
  int number = 0;
  FILE* stream = fopen(file, "r");
  if (stream != NULL && fscanf(stream, "%d", &number) != 1) number = 0;
  if (stream != NULL) fclose(stream);
  stream = fopen(file, "w");
  if (stream == NULL || fprintf(stream, "%d\n", ++number) < 0 || fclose(stream) != 0) {
    perror(file);
    exit(1);
  }
  return number;
}

int main(int argument_count, char** arguments) {
  pthread_t threads[kThreads];
  struct crs_init_options options = {sizeof options, NULL, NULL, NULL, "rollback", NULL, NULL, 0};
  crs_checkpointed* outcome = NULL;
  char reference[256] = "";
  pid_t pid = getpid();
  int attempt = 0;
  int i;
  if (argument_count != 2) {
    fprintf(stderr, "Usage: rollback FILE\n");
    return 2;
  }
  if (crs_init(&options) != CRS_OK) fail("crs_init");
  for (i = 0; i < kThreads; ++i) {
    if (pthread_create(&threads[i], NULL, work, &done[i]) != 0) return 1;
  }
  advance(kSteps);

  /* Comes back once for the snapshot and once for every rollback. */
  if (crs_checkpoint(NULL, &outcome) != CRS_OK) fail("crs_checkpoint");
  snprintf(reference, sizeof reference, "%s", crs_checkpointed_reference(outcome));
  crs_checkpointed_free(outcome);
  if (total() != kThreads * kSteps || getpid() != pid) return 3;

  advance(kSteps);
  attempt = count(arguments[1]);
  if (attempt <= kAttempts) {
    printf("process %ld: %ld steps, back to %s for the %d. time\n", (long)getpid(), total(), reference, attempt);
    fflush(stdout);
    crs_restart(reference, 0, NULL, NULL);
    fail("crs_restart"); /* it returns only if it fails */
  }
  printf("process %ld: %ld steps stand after %d rollbacks\n", (long)getpid(), total(), kAttempts);
  return 0;
}
