// Components in C that are no good, each in its own way: compiled once for every name in CMakeLists.txt with
// -DBROKEN_name. What is right about them is the same for all.
#include <stdlib.h>
#include <string.h>

#include "crs/component.h"

static int answer_usable(const struct crs_component_host* host, struct crs_component_answer* answer) {
  (void)host;
  answer->usable = 1;
  answer->priority = 90;
  return CRS_COMPONENT_OK;
}

static int checkpoint(const struct crs_component_host* host, void* state, pid_t pid,
                      const struct crs_component_sink* sink, const struct crs_component_checkpoint_options* options,
                      struct crs_component_outcome* outcome) {
  (void)host, (void)state, (void)pid, (void)sink, (void)options, (void)outcome;
  return CRS_COMPONENT_OK;
}

#define NAME "broken"
#define VERSION "1.0"
#define MAJOR CRS_COMPONENT_MAJOR
#define SIZE sizeof(struct crs_component)
#define QUERY answer_usable
#define CHECKPOINT checkpoint
#define PARAMETERS NULL
#define PARAMETER_COUNT 0

#if defined BROKEN_c_other_version
static int abort_query(const struct crs_component_host* host, struct crs_component_answer* answer) {
  (void)host, (void)answer;
  abort();
}
#undef MAJOR
#define MAJOR 3
#undef QUERY
#define QUERY abort_query
#elif defined BROKEN_c_short
#undef SIZE
#define SIZE 40
#elif defined BROKEN_c_boastful
#undef SIZE
#define SIZE (sizeof(struct crs_component) + 4096)
#elif defined BROKEN_c_no_name
#undef NAME
#define NAME NULL
#elif defined BROKEN_c_empty_name
#undef NAME
#define NAME ""
#elif defined BROKEN_c_odd_name
#undef NAME
#define NAME "../\033[2J"
#elif defined BROKEN_c_long_name
#undef NAME
#define NAME                                                                                                           \
  "a_name_that_goes_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and" \
  "_on"
#elif defined BROKEN_c_no_version
#undef VERSION
#define VERSION NULL
#elif defined BROKEN_c_no_query
#undef QUERY
#define QUERY NULL
#elif defined BROKEN_c_no_operations
#undef CHECKPOINT
#define CHECKPOINT NULL
#elif defined BROKEN_c_maybe
static int answer_maybe(const struct crs_component_host* host, struct crs_component_answer* answer) {
  (void)host;
  answer->usable = 7;
  return CRS_COMPONENT_OK;
}
#undef QUERY
#define QUERY answer_maybe
#undef NAME
#define NAME "c_maybe"
#elif defined BROKEN_c_endless_reason
static char endless[100000];
static int answer_endlessly(const struct crs_component_host* host, struct crs_component_answer* answer) {
  (void)host;
  memset(endless, 'x', sizeof endless - 1);
  answer->reason = endless;
  return CRS_COMPONENT_OK;
}
#undef QUERY
#define QUERY answer_endlessly
#undef NAME
#define NAME "c_endless_reason"
#elif defined BROKEN_c_declining
static int decline(const struct crs_component_host* host, struct crs_component_answer* answer) {
  (void)host;
  answer->reason = "it is not Tuesday";
  return CRS_COMPONENT_OK;
}
#undef QUERY
#define QUERY decline
#undef NAME
#define NAME "c_declining"
#elif defined BROKEN_c_failing
static int report_failure(const struct crs_component_host* host, struct crs_component_answer* answer) {
  (void)answer;
  return host->fail(host, CRS_COMPONENT_FAILED, "the licence has run out", "Buy another");
}
#undef QUERY
#define QUERY report_failure
#undef NAME
#define NAME "c_failing"
#elif defined BROKEN_c_mute
static int fail_silently(const struct crs_component_host* host, struct crs_component_answer* answer) {
  (void)host, (void)answer;
  return 42;
}
#undef QUERY
#define QUERY fail_silently
#undef NAME
#define NAME "c_mute"
#elif defined BROKEN_c_bad_parameter
static const struct crs_component_parameter parameters[] = {
    {"limit", CRS_COMPONENT_INTEGER, "many", "How much is too much."}};
#undef PARAMETERS
#define PARAMETERS parameters
#undef PARAMETER_COUNT
#define PARAMETER_COUNT 1
#elif defined BROKEN_c_many_parameters
#undef PARAMETER_COUNT
#define PARAMETER_COUNT ((size_t)-1)
#endif

// The linkers of C and C++ agree on its name.
#if defined BROKEN_c_function
__attribute__((visibility("default"), aligned(16))) const struct crs_component* crs_component_function(void) {
  return NULL;
}
__asm__(
    ".globl crs_component_table\n.type crs_component_table, @function\n.set crs_component_table, "
    "crs_component_function");
#else
CRS_COMPONENT_TABLE = {.size = SIZE,
                       .major = MAJOR,
                       .minor = CRS_COMPONENT_MINOR,
                       .name = NAME,
                       .version = VERSION,
                       .description = "Broken on purpose",
                       .parameters = PARAMETERS,
                       .parameter_count = PARAMETER_COUNT,
                       .query = QUERY,
                       .checkpoint = CHECKPOINT};
#endif
