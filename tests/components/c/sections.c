// The example component, but one that wants to hear of critical sections.
#define crs_component_table silent_table
#include "../../../examples/component/memo.c"
#undef crs_component_table

__attribute__((visibility("default"))) struct crs_component crs_component_table;

static int disable(const struct crs_component_host* host, void* state) {
  (void)state;
  host->say(host, 0, "disabled");
  return 0;
}

static int enable(const struct crs_component_host* host, void* state) {
  (void)state;
  host->say(host, 0, "enabled");
  return 0;
}

__attribute__((constructor)) static void begin(void) {
  crs_component_table = silent_table;
  crs_component_table.name = "sections";
  crs_component_table.disable_checkpoint = disable;
  crs_component_table.enable_checkpoint = enable;
}
