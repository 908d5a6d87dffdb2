// A program that names the memory that matters. It works on a grid, step by step, and looks at each step whether the
// grid is what it was left as. The number of the step lies at another place after each one.
#include <crs/crs.h>
#include <crs/self.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CELLS = 100000 };
static unsigned grid[CELLS];
static unsigned steps[2];
static unsigned* step = &steps[0];

// What it holds is newer than what a restarted program was brought back with, and must stay. 0: it has moved.
static int move_step(void) {
  unsigned* const place = step == &steps[0] ? &steps[1] : &steps[0];
  *place = *step;
  *step = 0;
  step = place;
  if (crs_self_unprotect(2) != 0) return -1;
  return crs_self_protect(2, step, sizeof *step);
}

static int end_slowly(void* unused, enum crs_state state) {
  (void)unused;
  if (state != CRS_STATE_TERM) return CRS_ANSWER_DONE;
  fclose(fopen("ending", "w"));
  sleep(100);
  return CRS_ANSWER_DONE;
}

int my_app_restart(void);
int my_app_restart(void) {
  if (access("end-thread", F_OK) == 0) pthread_exit(NULL);
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 2 || chdir(argv[1]) != 0) return 2;
  struct crs_init_options options = {.size = sizeof options, .component = "self"};
  if (crs_init(&options) != CRS_OK) {
    fprintf(stderr, "%s\n", crs_error_text());
    return 3;
  }
  crs_layer* layer = NULL;
  if (getenv("ENDS_SLOWLY") != NULL && crs_register("slow", end_slowly, NULL, &layer) != CRS_OK) return 9;
  /* What a restart runs, and where, if not this program in its directory. */
  const char* const command[] = {getenv("COMMAND"), NULL};
  if (command[0] != NULL) crs_self_set_restart_command(command, getenv("DIRECTORY"));
  const int grid_is_back = crs_self_protect(1, grid, sizeof grid);
  const int step_is_back = crs_self_protect(2, step, sizeof *step);
  if (grid_is_back < 0 || step_is_back < 0) {
    fprintf(stderr, "%s\n", crs_self_problem());
    return 4;
  }
  const char* const from = crs_self_restarted_from();
  if (grid_is_back != step_is_back || grid_is_back != (from != NULL)) return 5;
  const unsigned first = *step;
  for (;;) {
    if (crs_enter_critical_section() != CRS_OK) return 6;
    for (int i = 0; i < CELLS; ++i) {
      if (grid[i] != *step * (unsigned)i) return 7;
      grid[i] += (unsigned)i;
    }
    ++*step;
    if (move_step() != 0) return 8;
    if (crs_leave_critical_section() != CRS_OK) return 6;
    FILE* const file = fopen("number.new", "w");
    if (file == NULL) return 3;
    fprintf(file, "%u %u %d %s\n", *step, first, (int)getpid(), from == NULL ? "-" : from);
    fclose(file);
    rename("number.new", "number");
    usleep(1000);
  }
}
