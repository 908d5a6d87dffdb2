/* A program with a service that has a snapshot restarted, REFERENCE, as a new process or (in-place) in its own stead,
 * and tells what came of it: restarting REFERENCE child|in-place [JOB]. */
#include <crs/crs.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char** argv) {
  const int in_place = argc > 2 && strcmp(argv[2], "in-place") == 0;
  struct crs_restart_options options = {.size = sizeof options, .job = argc > 3 ? argv[3] : NULL};
  pid_t child = 0;
  if (argc < 3) return 2;
  if (crs_init(NULL) != CRS_OK) return puts(crs_error_text()), 1;
  if (crs_restart(argv[1], in_place ? 0 : 1, &options, &child) != CRS_OK)
    return printf("failed: %s\n", crs_error_text()), 3;
  printf("process %d\n", (int)child);
  return crs_finalize() == CRS_OK ? 0 : 1;
}
