/* Everything of crs/crs.h with component none; prints "sound". Compiled as C99 and as C++ (system.libcrs). */
#include <crs/crs.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                                \
  do {                                                                                                  \
    if (!(condition)) {                                                                                 \
      printf("%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition, crs_error_text()); \
      exit(1);                                                                                          \
    }                                                                                                   \
  } while (0)

struct layer {
  const char* name;
  int answer; /* to CHECKPOINT */
};

static char told[1024];

static int notify(void* context, enum crs_state state) {
  struct layer* layer = (struct layer*)context;
  strncat(told, layer->name, sizeof told - strlen(told) - 1);
  strncat(told, " ", sizeof told - strlen(told) - 1);
  strncat(told, crs_state_name(state), sizeof told - strlen(told) - 1);
  strncat(told, ", ", sizeof told - strlen(told) - 1);
  if (state != CRS_STATE_CHECKPOINT) return CRS_ANSWER_DONE;
  if (layer->answer == CRS_ANSWER_FAILED) return crs_layer_failed("it does not want to");
  if (layer->answer == CRS_ANSWER_NOT_YET) {
    layer->answer = CRS_ANSWER_DONE;
    return CRS_ANSWER_NOT_YET;
  }
  return layer->answer;
}

static void note_stage(void* context, enum crs_stage stage, const char* text) {
  (void)text;
  *(unsigned*)context |= 1U << stage;
}

static void layers(void) {
  struct layer lower = {"lower", CRS_ANSWER_DONE};
  struct layer upper = {"upper", CRS_ANSWER_DONE};
  crs_layer* lower_handle = NULL;
  crs_layer* upper_handle = NULL;
  crs_checkpointed* outcome = NULL;
  unsigned stages = 0;
  uint64_t nanoseconds = 0;
  enum crs_state state = CRS_STATE_ERROR;
  const struct crs_range backwards = {0x3000, 0x2000};
  struct crs_checkpoint_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.progress = note_stage;
  options.progress_context = &stages;

  CHECK(crs_register("lower", notify, &lower, &lower_handle) == CRS_OK);
  CHECK(crs_register("upper", notify, &upper, &upper_handle) == CRS_OK);
  CHECK(crs_checkpoint(&options, &outcome) == CRS_OK);
  CHECK(strcmp(told, "upper checkpoint, lower checkpoint, lower continue, upper continue, ") == 0);
  CHECK(crs_checkpointed_state(outcome) == CRS_STATE_CONTINUE);
  CHECK(strcmp(crs_checkpointed_reference(outcome), "") == 0);
  CHECK(crs_checkpointed_forgotten(outcome, 0) == NULL);
  CHECK(strcmp(crs_checkpointed_layer(outcome, 0, &state, &nanoseconds), "upper") == 0);
  CHECK(state == CRS_STATE_CHECKPOINT && crs_checkpointed_layer(outcome, 4, NULL, NULL) == NULL);
  CHECK(stages == ((1U << CRS_STAGE_ACCEPTED) | (1U << CRS_STAGE_QUIESCING) | (1U << CRS_STAGE_SNAPSHOTTING) |
                   (1U << CRS_STAGE_DONE)));
  crs_checkpointed_free(outcome);

  told[0] = '\0';
  options.exclude = &backwards;
  options.exclude_count = 1;
  CHECK(crs_checkpoint(&options, NULL) == CRS_USAGE && strstr(crs_error_text(), "0x3000-0x2000") != NULL);
  CHECK(told[0] == '\0');

  options.size = 4;
  CHECK(crs_checkpoint(&options, NULL) == CRS_USAGE && strstr(crs_error_text(), "crs_checkpoint_options") != NULL);

  told[0] = '\0';
  lower.answer = CRS_ANSWER_FAILED;
  CHECK(crs_checkpoint(NULL, NULL) == CRS_FAILED);
  CHECK(strcmp(told, "upper checkpoint, lower checkpoint, upper error, ") == 0);
  CHECK(strcmp(crs_error_cause(0), "it does not want to") == 0 && strstr(crs_error_text(), "layer 'lower'") != NULL);
  CHECK(crs_error_status() == CRS_FAILED && crs_error_cause(9) == NULL && crs_error_number() == 0);

  told[0] = '\0';
  lower.answer = CRS_ANSWER_NOT_YET;
  upper.answer = CRS_ANSWER_REOPEN;
  CHECK(crs_checkpoint(NULL, NULL) == CRS_OK);
  CHECK(
      strcmp(
          told,
          "upper checkpoint, lower checkpoint, lower checkpoint, upper restart-pre, lower continue, upper restart, ") ==
      0);
  lower.answer = 77;
  CHECK(crs_checkpoint(NULL, NULL) == CRS_FAILED && strstr(crs_error_text(), "77") != NULL);
  CHECK(crs_unregister(lower_handle) == CRS_OK && crs_unregister(NULL) == CRS_OK);
  told[0] = '\0';
  upper.answer = CRS_ANSWER_DONE;
  CHECK(crs_checkpoint(NULL, NULL) == CRS_OK && strcmp(told, "upper checkpoint, upper continue, ") == 0);
  CHECK(crs_unregister(upper_handle) == CRS_OK && crs_ask_again() == CRS_OK);
}

static int finalize_inside(void* outcome, enum crs_state state) {
  if (state == CRS_STATE_CHECKPOINT) *(int*)outcome = crs_finalize();
  return CRS_ANSWER_DONE;
}

static void finalize_in_progress(void* outcome, enum crs_stage stage, const char* text) {
  (void)text;
  if (stage == CRS_STAGE_ACCEPTED) *(int*)outcome = crs_finalize();
}

static void no_end_inside(void) {
  int in_layer = -1;
  int in_progress = -1;
  crs_layer* layer = NULL;
  struct crs_checkpoint_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.progress = finalize_in_progress;
  options.progress_context = &in_progress;
  CHECK(crs_register("ending", finalize_inside, &in_layer, &layer) == CRS_OK);
  CHECK(crs_checkpoint(&options, NULL) == CRS_OK && in_layer == CRS_FAILED && in_progress == CRS_FAILED);
  CHECK(strstr(crs_error_text(), "a checkpoint is under way") != NULL);
  CHECK(crs_checkpoint(NULL, NULL) == CRS_OK && crs_unregister(layer) == CRS_OK);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int hangs = 0;
static int may_go_on = 0;

static int hang(void* unused, enum crs_state state) {
  (void)unused;
  if (state != CRS_STATE_CHECKPOINT) return CRS_ANSWER_DONE;
  pthread_mutex_lock(&mutex);
  hangs = 1;
  pthread_cond_broadcast(&changed);
  while (!may_go_on) pthread_cond_wait(&changed, &mutex);
  pthread_mutex_unlock(&mutex);
  return CRS_ANSWER_DONE;
}

static void* checkpoint_that_hangs(void* unused) {
  CHECK(crs_checkpoint(NULL, NULL) == CRS_OK);
  return unused;
}

/* Nobody waits for ever for a layer that does not return (crs_wait_limit=1). */
static void layer_that_hangs(void) {
  crs_layer* layer = NULL;
  pthread_t thread;
  CHECK(crs_register("hanging", hang, NULL, &layer) == CRS_OK);
  CHECK(pthread_create(&thread, NULL, checkpoint_that_hangs, NULL) == 0);
  pthread_mutex_lock(&mutex);
  while (!hangs) pthread_cond_wait(&changed, &mutex);
  pthread_mutex_unlock(&mutex);
  CHECK(crs_enter_critical_section() == CRS_FAILED && strstr(crs_error_text(), "crs_wait_limit") != NULL);
  CHECK(crs_unregister(layer) == CRS_FAILED && strstr(crs_error_text(), "has not returned within 1 s") != NULL);
  CHECK(crs_finalize() == CRS_FAILED && strstr(crs_error_text(), "(state checkpoint)") != NULL);
  CHECK(crs_is_initialized() == 1 && crs_leave_critical_section() == CRS_FAILED);
  pthread_mutex_lock(&mutex);
  may_go_on = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&mutex);
  CHECK(pthread_join(thread, NULL) == 0 && crs_checkpoint(NULL, NULL) == CRS_OK);
  CHECK(crs_enter_critical_section() == CRS_OK && crs_leave_critical_section() == CRS_OK);
  CHECK(crs_unregister(layer) == CRS_OK);
}

static void sections(void) {
  CHECK(crs_register_thread("main") == CRS_OK);
  CHECK(crs_enter_critical_section() == CRS_OK && crs_enter_critical_section() == CRS_OK);
  CHECK(crs_checkpoint(NULL, NULL) == CRS_FAILED && strstr(crs_error_text(), "critical section") != NULL);
  CHECK(crs_leave_critical_section() == CRS_OK && crs_leave_critical_section() == CRS_OK);
  CHECK(crs_leave_critical_section() == CRS_FAILED);
  CHECK(crs_checkpoint(NULL, NULL) == CRS_OK);
}

static void memory(void) {
  enum { kPage = 4096 };
  struct crs_range* ranges = NULL;
  size_t count = 7;
  void* area = NULL;
  CHECK(posix_memalign(&area, kPage, 4 * kPage) == 0);
  CHECK(crs_exclude(area, 4 * kPage) == CRS_OK && crs_excluded(&ranges, &count) == CRS_OK);
  CHECK(count == 1 && ranges[0].start == (uint64_t)(uintptr_t)area && ranges[0].end - ranges[0].start == 4 * kPage);
  crs_free(ranges);
  CHECK(crs_include((char*)area + kPage + 1, 1) == CRS_OK && crs_excluded(&ranges, &count) == CRS_OK && count == 2);
  CHECK(ranges[0].end - ranges[0].start == kPage && ranges[1].start - ranges[0].end == kPage);
  crs_free(ranges);
  CHECK(crs_include(area, 4 * kPage) == CRS_OK && crs_excluded(&ranges, &count) == CRS_OK && count == 0);
  crs_free(ranges);
  CHECK(crs_exclude(NULL, 4 * kPage) == CRS_USAGE && strstr(crs_error_text(), "no memory there") != NULL);
  char on_stack[4 * kPage];
  CHECK(crs_exclude(on_stack, sizeof on_stack) == CRS_USAGE && strstr(crs_error_text(), "stack") != NULL);
  CHECK(crs_lost_memory(&ranges, &count) == CRS_OK && count == 0);
  crs_free(ranges);
  free(area);
}

static void surroundings(void) {
  char* value = NULL;
  enum crs_state state = CRS_STATE_ERROR;
  CHECK(crs_environment("CRS_TEST_VARIABLE", &value) == CRS_OK && value == NULL);
  CHECK(setenv("CRS_TEST_VARIABLE", "a=b\nc", 1) == 0);
  CHECK(crs_environment("CRS_TEST_VARIABLE", &value) == CRS_OK && strcmp(value, "a=b\nc") == 0);
  crs_free(value);
  CHECK(crs_component_name(&value) == CRS_OK && strcmp(value, "none") == 0);
  crs_free(value);
  CHECK(crs_get_state(&state) == CRS_OK && state == CRS_STATE_RUNNING);
}

static void ledger(void) {
  struct crs_claim claim;
  struct crs_claim second = {-1, 0};
  int answer = 7;
  const int number = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK(crs_ledger_claim(number, "reader", &claim) == CRS_OK && claim.number == number);
  CHECK(crs_ledger_claim(number, "other", &second) == CRS_FAILED && strstr(crs_error_text(), "reader") != NULL);
  CHECK(crs_ledger_is_mine(&claim, &answer) == CRS_OK && answer == 1);
  struct crs_use use;
  CHECK(crs_ledger_add_use(&second, "poll set", &use) == CRS_FAILED);
  CHECK(crs_ledger_add_use(&claim, NULL, &use) == CRS_USAGE &&
        crs_ledger_add_use(&claim, "poll set", NULL) == CRS_USAGE);
  CHECK(crs_ledger_add_use(&claim, "poll set", &use) == CRS_OK);
  CHECK(crs_ledger_is_usable(&use, &answer) == CRS_OK && answer == 1);
  CHECK(crs_ledger_close(&claim, NULL) == CRS_FAILED && strstr(crs_error_text(), "poll set") != NULL);
  CHECK(crs_ledger_end_use(&use) == CRS_OK && crs_ledger_end_use(&use) == CRS_OK);
  CHECK(crs_ledger_is_usable(&use, &answer) == CRS_OK && answer == 0);
  CHECK(crs_ledger_close(&claim, &answer) == CRS_OK && answer == 1 && fcntl(number, F_GETFD) == -1);
  CHECK(crs_ledger_close(&claim, NULL) == CRS_FAILED && crs_ledger_release(&claim) == CRS_FAILED);
}

/* A child of fork(2) has no service, and may make one. */
static void forked(const struct crs_init_options* options) {
  int status = 0;
  const pid_t child = fork();
  if (child == 0) {
    const int refused = crs_is_initialized() == 0 && crs_checkpoint(NULL, NULL) == CRS_FAILED &&
                        strstr(crs_error_text(), "forked") != NULL;
    _exit(refused && crs_init(options) == CRS_OK && crs_checkpoint(NULL, NULL) == CRS_OK ? 0 : 1);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static char* duplicate(const char* text) {
  char* copy = (char*)malloc(strlen(text) + 1);
  CHECK(copy != NULL);
  return strcpy(copy, text);
}

static void restarts(void) {
  struct crs_restart_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.size = 4;
  CHECK(crs_restart("sim@1", 1, &options, NULL) == CRS_USAGE && strstr(crs_error_text(), "size") != NULL);
  options.size = sizeof options;
  options.time_limit = -1;
  CHECK(crs_restart("sim@1", 1, &options, NULL) == CRS_USAGE && strstr(crs_error_text(), "time limit") != NULL);
  options.time_limit = 1;
  options.ids = (enum crs_ids)3;
  CHECK(crs_restart("nothing@1", 1, &options, NULL) != CRS_OK && strstr(crs_error_text(), "process ids") == NULL);
}

static pid_t waiting_thread;

static void* thread_that_waits(void* unused) {
  pthread_mutex_lock(&mutex);
  waiting_thread = (pid_t)syscall(SYS_gettid);
  pthread_cond_broadcast(&changed);
  while (waiting_thread != 0) pthread_cond_wait(&changed, &mutex);
  pthread_mutex_unlock(&mutex);
  return unused;
}

static void module(const struct crs_init_options* options) {
  crs_module* module = NULL;
  enum crs_state state = CRS_STATE_ERROR;
  struct crs_snapshot snapshot;
  struct crs_launch_plan plan;
  memset(&snapshot, 0, sizeof snapshot);
  memset(&plan, 0, sizeof plan);
  CHECK(crs_module_select(options, &module) == CRS_OK && strcmp(crs_module_name(module), "none") == 0);
  CHECK(crs_module_checkpoint(module, 0, &snapshot, NULL, &state) == CRS_USAGE);
  snapshot.size = sizeof snapshot;
  CHECK(crs_module_checkpoint(module, 0, &snapshot, NULL, &state) == CRS_OK);
  CHECK(state == CRS_STATE_CONTINUE && strcmp(snapshot.component, "none") == 0 && snapshot.cold_start == 0);
  CHECK(crs_module_checkpoint(module, getppid(), &snapshot, NULL, &state) == CRS_FAILED);
  CHECK(crs_module_checkpoint(module, -1, &snapshot, NULL, &state) == CRS_USAGE);
  {
    pthread_t thread;
    pthread_mutex_lock(&mutex);
    CHECK(pthread_create(&thread, NULL, thread_that_waits, NULL) == 0);
    while (waiting_thread == 0) pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    CHECK(crs_module_checkpoint(module, waiting_thread, &snapshot, NULL, &state) == CRS_USAGE);
    CHECK(strstr(crs_error_text(), "is the id of a thread") != NULL);
    pthread_mutex_lock(&mutex);
    waiting_thread = 0;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  /* The largest process id there can be is 2^22 (proc_sys_kernel_pid_max(5)). */
  CHECK(crs_module_checkpoint(module, 1 << 23, &snapshot, NULL, &state) == CRS_NOT_FOUND);
  CHECK(crs_module_disable_checkpoint(module) == CRS_OK && crs_module_enable_checkpoint(module) == CRS_OK);
  CHECK(crs_module_register_thread(module) == CRS_OK);
  crs_snapshot_clear(&snapshot);
  CHECK(snapshot.reference == NULL);
  plan.size = sizeof plan;
  plan.application = duplicate("solver");
  plan.arguments = (char**)calloc(2, sizeof(char*));
  plan.arguments[0] = duplicate("solver --size='1 2'");
  CHECK(crs_module_prelaunch(module, &plan) == CRS_OK);
  CHECK(crs_prelaunch(&plan) == CRS_FAILED && strstr(crs_error_text(), "no service") != NULL);
  CHECK(crs_init(options) == CRS_OK && crs_prelaunch(&plan) == CRS_OK && crs_finalize() == CRS_OK);
  CHECK(strcmp(plan.application, "solver") == 0 && strcmp(plan.arguments[0], "solver --size='1 2'") == 0);
  CHECK(plan.arguments[1] == NULL && plan.environment[0] == NULL);
  free(plan.application);
  free(plan.working_directory);
  free(plan.arguments[0]);
  free(plan.arguments);
  free(plan.environment);
  CHECK(crs_module_finalize(module) == CRS_OK);
}

static void says_nothing(void* context, const char* line) {
  (void)line;
  ++*(int*)context;
}

int main(void) {
  static const char* const parameters[] = {"crs_base_verbose=1", "crs_wait_limit=1", NULL};
  static const char* const negative[] = {"crs_snapshot_limit=-5", NULL};
  static const char* const wrong[] = {"crs_base_verbos=1", NULL};
  struct layer outliving = {"outliving", CRS_ANSWER_DONE};
  crs_layer* outliving_handle = NULL;
  struct crs_init_options options;
  int lines = 0;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.component = "none";
  options.output = says_nothing;
  options.output_context = &lines;
  options.no_requests = 1;

  CHECK(strcmp(crs_error_text(), "") == 0 && crs_error_status() == CRS_OK);
  CHECK(crs_checkpoint(NULL, NULL) == CRS_FAILED && strcmp(crs_error_advice(), "crs::init() makes it") == 0);
  options.parameters = wrong;
  CHECK(crs_init(&options) == CRS_USAGE && strstr(crs_error_text(), "crs_base_verbose") != NULL);
  CHECK(strstr(crs_error_text(), "the program itself") != NULL && strstr(crs_error_text(), "--param") == NULL);
  options.parameters = negative;
  CHECK(crs_init(&options) == CRS_USAGE && strstr(crs_error_text(), "negative number of seconds") != NULL);
  options.parameters = parameters;
  for (options.size = 0; options.size + 4 < sizeof options; options.size += 4) CHECK(crs_init(&options) == CRS_USAGE);
  options.size = sizeof options;
  options.job = "a/b";
  CHECK(crs_init(&options) == CRS_USAGE && strstr(crs_error_text(), "'a/b' is not a job name") != NULL);
  options.job = "..";
  CHECK(crs_init(&options) == CRS_USAGE);
  options.job = "good";
  CHECK(crs_is_initialized() == 0 && crs_init(&options) == CRS_OK && crs_is_initialized() == 1 && lines == 1);
  CHECK(crs_init(&options) == CRS_USAGE);
  CHECK(crs_register(NULL, notify, NULL, &outliving_handle) == CRS_USAGE);
  CHECK(crs_restart("sim@", 1, NULL, NULL) != CRS_OK && crs_restart(NULL, 1, NULL, NULL) == CRS_USAGE);
  restarts();
  layers();
  no_end_inside();
  sections();
  layer_that_hangs();
  memory();
  surroundings();
  ledger();
  forked(&options);
  CHECK(crs_register("outliving", notify, &outliving, &outliving_handle) == CRS_OK);
  CHECK(crs_finalize() == CRS_OK && crs_finalize() == CRS_FAILED && crs_unregister(outliving_handle) == CRS_OK);
  CHECK(crs_init(&options) == CRS_OK && crs_checkpoint(NULL, NULL) == CRS_OK && crs_finalize() == CRS_OK);
  module(&options);
  puts("sound");
  return 0;
}
