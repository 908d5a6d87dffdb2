// A component that declares much and stores nothing.
#include <crs/component.h>

static int query(const struct crs_component_host* host, struct crs_component_answer* answer) {
  (void)host;
  answer->usable = 1;
  return CRS_COMPONENT_OK;
}

static int checkpoint(const struct crs_component_host* host, void* state, pid_t pid,
                      const struct crs_component_sink* sink, const struct crs_component_checkpoint_options* options,
                      struct crs_component_outcome* outcome) {
  (void)host, (void)state, (void)pid, (void)sink;
  outcome->state = options->after == CRS_COMPONENT_KILL ? CRS_COMPONENT_ENDS : CRS_COMPONENT_WENT_ON;
  return CRS_COMPONENT_OK;
}

static int restart(const struct crs_component_host* host, void* state, struct crs_component_snapshot* snapshot,
                   const struct crs_component_restart_options* options, struct crs_component_restarted* restarted) {
  (void)state, (void)snapshot, (void)options, (void)restarted;
  return host->fail(host, CRS_COMPONENT_FAILED, "there is nothing to restart", "");
}

CRS_COMPONENT_TABLE = {CRS_COMPONENT_HEAD,
                       .capabilities = CRS_COMPONENT_PROCESS_IDS | CRS_COMPONENT_PIPES,
                       .name = "empty",
                       .version = "1",
                       .description = "stores nothing",
                       .query = query,
                       .checkpoint = checkpoint,
                       .restart = restart};
