/* A component hears of every critical section of the program: of the service's, and of its module's. */
#include <crs/crs.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static char heard[256];

static void hear(void* context, const char* line) {
  (void)context;
  if (strstr(line, "disabled") != NULL) strcat(heard, "+");
  if (strstr(line, "enabled") != NULL) strcat(heard, "-");
}

/* Ends inside of two, the program's or a module's. */
static void* end_inside(void* module) {
  int round = 0;
  for (; round < 2; ++round) {
    if ((module == NULL ? crs_enter_critical_section() : crs_module_disable_checkpoint(module)) != CRS_OK) break;
  }
  return NULL;
}

static void let_one_end(crs_module* module) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, end_inside, module) == 0) pthread_join(thread, NULL);
}

int main(void) {
  struct crs_init_options options = {sizeof options, "sections", NULL, NULL, NULL, hear, NULL, 1};
  crs_module* module = NULL;
  if (crs_init(&options) != CRS_OK) return puts(crs_error_text()), 1;
  if (crs_enter_critical_section() != CRS_OK || crs_enter_critical_section() != CRS_OK) return 2;
  if (crs_leave_critical_section() != CRS_OK || crs_leave_critical_section() != CRS_OK) return 3;
  if (crs_leave_critical_section() == CRS_OK || strcmp(heard, "++--") != 0) return puts(heard), 4;
  let_one_end(NULL);
  if (strcmp(heard, "++--++--") != 0) return puts(heard), 9;
  if (crs_finalize() != CRS_OK || crs_module_select(&options, &module) != CRS_OK) return puts(crs_error_text()), 5;
  if (crs_module_disable_checkpoint(module) != CRS_OK || crs_module_enable_checkpoint(module) != CRS_OK) return 6;
  if (crs_module_enable_checkpoint(module) == CRS_OK || strcmp(heard, "++--++--+-") != 0) return puts(heard), 7;
  let_one_end(module);
  if (strcmp(heard, "++--++--+-++--") != 0) return puts(heard), 10;
  if (crs_module_finalize(module) != CRS_OK) return 8;
  puts("sound");
  return 0;
}
