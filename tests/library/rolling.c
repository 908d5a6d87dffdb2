/* A program with a service that rolls back in its own stead to a snapshot that it has taken of itself:
 *   timers  with the three interval timers at work, which have handlers
 *   waits   when the file `go` is there, and a handler for SIGUSR1
 *   few     when it may have few files open
 *   many    with tens of thousands of areas that are not saved
 * A second argument is the name of its job. It tells that it is back, or why it is not. */
#include <crs/crs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

static void nothing(int signal) { (void)signal; }

static void handle(int signal) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = nothing;
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, NULL);
}

static void start_timers(void) {
  const struct itimerval often = {{0, 500}, {0, 500}};
  const int timers[] = {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF};
  const int signals[] = {SIGALRM, SIGVTALRM, SIGPROF};
  int i;
  for (i = 0; i < 3; ++i) {
    handle(signals[i]);
    setitimer(timers[i], &often, NULL);
  }
}

/* Every other page. */
static int exclude_many(void) {
  const size_t areas = 30000, page = (size_t)sysconf(_SC_PAGESIZE);
  size_t i;
  char* memory =
      (char*)mmap(NULL, 2 * areas * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == (char*)MAP_FAILED || crs_exclude(memory, 2 * areas * page) != CRS_OK) return 0;
  for (i = 0; i < areas; ++i)
    if (crs_include(memory + 2 * i * page, 1) != CRS_OK) return 0;
  return 1;
}

int main(int argc, char** argv) {
  const struct rlimit few = {30, 30};
  char reference[256];
  struct crs_init_options init_options;
  crs_checkpointed* result = NULL;
  memset(&init_options, 0, sizeof init_options);
  if (argc < 2) return 2;
  init_options.size = sizeof init_options;
  if (argc > 2) init_options.job = argv[2];
  if (crs_init(&init_options) != CRS_OK) return puts(crs_error_text()), 1;
  if (strcmp(argv[1], "timers") == 0) start_timers();
  if (strcmp(argv[1], "many") == 0 && !exclude_many()) return puts(crs_error_text()), 1;
  handle(SIGUSR1);
  if (crs_checkpoint(NULL, &result) != CRS_OK) return puts(crs_error_text()), 1;
  if (crs_checkpointed_state(result) == CRS_STATE_RESTART) return crs_checkpointed_free(result), puts("back"), 0;
  snprintf(reference, sizeof reference, "%s", crs_checkpointed_reference(result));
  crs_checkpointed_free(result);
  printf("taken %s\n", reference);
  fflush(stdout);
  while (strcmp(argv[1], "waits") == 0 && access("go", F_OK) != 0) usleep(1000);
  if (strcmp(argv[1], "few") == 0) setrlimit(RLIMIT_NOFILE, &few);
  crs_restart(reference, 0, NULL, NULL);
  printf("goes on: %s\n", crs_error_text());
  return crs_finalize() == CRS_OK ? 0 : 1;
}
