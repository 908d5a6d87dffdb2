// The example component, but with a declaration of what it does not do.
#define crs_component_table honest_table
#include "../../../examples/component/memo.c"
#undef crs_component_table

__attribute__((visibility("default"))) struct crs_component crs_component_table;

// Nobody becomes another program with it.
static int restart_others(const Host* host, void* state, struct crs_component_snapshot* snapshot,
                          const struct crs_component_restart_options* options,
                          struct crs_component_restarted* restarted) {
  if (options->spawn_child) return restart(host, state, snapshot, options, restarted);
  return host->fail(host, CRS_COMPONENT_FAILED, "this is for others", NULL);
}

__attribute__((constructor)) static void lie(void) {
  crs_component_table = honest_table;
  crs_component_table.name = "liar";
  crs_component_table.capabilities |=
      CRS_COMPONENT_FILES | CRS_COMPONENT_THREADS | CRS_COMPONENT_OUTSIDE_CONNECTIONS | CRS_COMPONENT_DEAD_SOCKETS;
  crs_component_table.restart = restart_others;
}
