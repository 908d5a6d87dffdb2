/* The eight operations of a component's module, directly, in C99: operations COMPONENT COPY OTHER. It says what
 * happens, a line at a time. COPY is where a copy of the snapshot goes, OTHER the id of another process. */
#include <crs/crs.h>
#include <crs/self.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                    \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      fprintf(stderr, "%s:%d: %s; %s\n", __FILE__, __LINE__, #condition, crs_error_text()); \
      exit(1);                                                                              \
    }                                                                                       \
  } while (0)

static int cells[1000];

static int delays;

static void count_delay(void* context, enum crs_stage stage, const char* text) {
  (void)context;
  if (stage == CRS_STAGE_DELAYED && strstr(text, "in a critical section") != NULL) ++delays;
}

static void* checkpoint_in_vain(void* module) {
  struct crs_snapshot snapshot;
  struct crs_checkpoint_options options;
  memset(&snapshot, 0, sizeof snapshot);
  memset(&options, 0, sizeof options);
  snapshot.size = sizeof snapshot;
  options.size = sizeof options;
  options.time_limit = 0.02;
  options.progress = count_delay;
  CHECK(crs_module_checkpoint((crs_module*)module, 0, &snapshot, &options, NULL) == CRS_FAILED);
  return NULL;
}

/* Another thread's checkpoint waits for this one's sections. */
static void critical_sections(crs_module* module) {
  pthread_t thread;
  CHECK(crs_module_disable_checkpoint(module) == CRS_OK && crs_module_disable_checkpoint(module) == CRS_OK);
  CHECK(crs_module_enable_checkpoint(module) == CRS_OK);
  CHECK(pthread_create(&thread, NULL, checkpoint_in_vain, module) == 0 && pthread_join(thread, NULL) == 0);
  CHECK(delays > 0 && crs_module_enable_checkpoint(module) == CRS_OK);
  CHECK(crs_module_enable_checkpoint(module) == CRS_FAILED);
}

static crs_module* select_module(const char* component) {
  crs_module* module = NULL;
  struct crs_init_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.component = component;
  options.job = "direct";
  CHECK(crs_module_select(&options, &module) == CRS_OK);
  printf("module %s\n", crs_module_name(module));
  CHECK(crs_module_register_thread(module) == CRS_OK);
  critical_sections(module);
  return module;
}

static void free_list(char** list) {
  size_t i;
  for (i = 0; list != NULL && list[i] != NULL; ++i) free(list[i]);
  free(list);
}

static void prelaunch(crs_module* module) {
  struct crs_launch_plan plan;
  char application[] = "solver";
  memset(&plan, 0, sizeof plan);
  plan.size = sizeof plan;
  plan.application = strcpy((char*)malloc(sizeof application), application);
  CHECK(crs_module_prelaunch(module, &plan) == CRS_OK && strcmp(plan.application, "solver") == 0);
  free(plan.base_directory);
  free(plan.application);
  free(plan.working_directory);
  free_list(plan.arguments);
  free_list(plan.environment);
}

static void another(crs_module* module, pid_t pid) {
  struct crs_snapshot snapshot;
  enum crs_state state = CRS_STATE_ERROR;
  memset(&snapshot, 0, sizeof snapshot);
  snapshot.size = sizeof snapshot;
  if (crs_module_checkpoint(module, pid, &snapshot, NULL, &state) == CRS_OK) {
    printf("another %s %s\n", crs_state_name(state), snapshot.reference);
  } else {
    printf("another refused: %s\n", crs_error_text());
  }
  crs_snapshot_clear(&snapshot);
}

/* As somebody who was given nothing but a directory. */
static void start_again(crs_module* module, const char* directory) {
  struct crs_snapshot snapshot;
  struct crs_restart_options options;
  pid_t child = 0;
  memset(&snapshot, 0, sizeof snapshot);
  snapshot.size = sizeof snapshot;
  snapshot.cold_start = 1;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.ids = CRS_IDS_NEW;
  /* Not the name of a job. */
  snapshot.location = strcpy((char*)malloc(sizeof "relative"), "relative");
  CHECK(crs_module_restart(module, &snapshot, 1, &options, &child) == CRS_USAGE);
  free(snapshot.location);
  snapshot.location = strcpy((char*)malloc(strlen(directory) + 1), directory);
  CHECK(crs_module_restart(module, &snapshot, 1, &options, &child) == CRS_OK && child > 0 && child != getpid());
  printf("child of %s by %s, cold start %d\n", snapshot.reference, snapshot.component, snapshot.cold_start);
  crs_snapshot_clear(&snapshot);
}

int main(int argc, char** argv) {
  crs_module* module;
  struct crs_snapshot snapshot;
  struct crs_checkpoint_options options;
  enum crs_state state = CRS_STATE_ERROR;
  char command[4096];
  int is_back;
  CHECK(argc == 4);
  setvbuf(stdout, NULL, _IOLBF, 0);
  is_back = crs_self_protect(1, cells, sizeof cells);
  if (is_back == 1) {
    printf("begins anew, cell %d\n", cells[7]);
    return 0;
  }
  cells[7] = 42;
  module = select_module(argv[1]);
  prelaunch(module);
  another(module, (pid_t)atoi(argv[3]));
  memset(&snapshot, 0, sizeof snapshot);
  snapshot.size = sizeof snapshot;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.after = CRS_AFTER_CONTINUE;
  CHECK(crs_module_checkpoint(module, 0, &snapshot, &options, &state) == CRS_OK);
  printf("checkpoint %s %s cell %d\n", crs_state_name(state), snapshot.reference, cells[7]);
  if (state == CRS_STATE_RESTART) {
    crs_snapshot_clear(&snapshot);
    return crs_module_finalize(module) == CRS_OK ? 0 : 1;
  }
  if (snapshot.reference[0] != '\0') {
    snprintf(command, sizeof command, "cp -r '%s' '%s'", snapshot.location, argv[2]);
    CHECK(system(command) == 0);
    start_again(module, argv[2]);
  }
  crs_module_restart(module, &snapshot, 0, NULL, NULL);
  printf("no restart: %s\n", crs_error_text());
  crs_snapshot_clear(&snapshot);
  CHECK(crs_module_finalize(module) == CRS_OK);
  return 0;
}
