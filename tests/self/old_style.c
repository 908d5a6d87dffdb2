// A program in the style of 2009: it knows nothing of CRS (but where it is to make a mistake) but three functions with
// certain names, and how it is compiled and linked. It counts, and saves how far it has come in a file of its own.
//
//   old_style DIRECTORY [--from FILE]
#include <crs/crs.h>
#include <crs/self_start.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long number = 0;
static int restarts = 0;
static char directory[4096] = ".";

static void note(const char* what) {
  FILE* const file = fopen("log", "a");
  if (file == NULL) exit(3);
  fprintf(file, "%s %d\n", what, restarts);
  fclose(file);
}

int my_app_checkpoint(char** restart_command);
int my_app_continue(void);
int my_app_restart(void);

int my_app_checkpoint(char** restart_command) {
  note("checkpoint");
  if (access("fail-checkpoint", F_OK) == 0) return -1;
  FILE* const file = fopen("state", "w");
  if (file == NULL) return -1;
  fprintf(file, "%ld %d\n", number, restarts);
  if (fclose(file) != 0) return -1;
  *restart_command = malloc(8192);
  if (*restart_command == NULL) return -1;
  snprintf(*restart_command, 8192, "%s '%s' --from \"the state\"", getenv("PROGRAM"), directory);
  return 0;
}

int my_app_continue(void) {
  note("continue");
  return access("fail-continue", F_OK) == 0 ? -1 : 0;
}

static void* call_service(void* refused) {
  *(int*)refused = crs_init(NULL) == CRS_USAGE && crs_finalize() == CRS_FAILED;
  return NULL;
}

// What calls my_app_restart() makes the service, and cannot be waited for: here, and in a thread that is waited for.
static int is_service_refused(void) {
  pthread_t thread;
  int here = 0;
  int there = 0;
  call_service(&here);
  return pthread_create(&thread, NULL, call_service, &there) == 0 && pthread_join(thread, NULL) == 0 && here && there;
}

int my_app_restart(void) {
  FILE* const file = fopen("state", "r");
  if (file == NULL || fscanf(file, "%ld %d", &number, &restarts) != 2) return -1;
  fclose(file);
  ++restarts;
  if (access("call-service", F_OK) == 0 && !is_service_refused()) return -1;
  note("restart");
  return access("fail-restart", F_OK) == 0 ? -1 : 0;
}

int main(int argc, char** argv) {
  if (argc < 2 || chdir(argv[1]) != 0) return 2;
  snprintf(directory, sizeof directory, "%s", argv[1]);
  if (argc > 2 && (strcmp(argv[2], "--from") != 0 || strcmp(argv[3], "the state") != 0)) return 2;
  for (;; ++number) {
    FILE* const file = fopen("number.new", "w");
    if (file == NULL) return 3;
    fprintf(file, "%ld %d %d\n", number, restarts, (int)getpid());
    fclose(file);
    rename("number.new", "number");
    usleep(1000);
  }
}
