// The example component, but with a declaration of what it does not do.
#define crs_component_table honest_table
#include "../../../examples/component/memo.c"
#undef crs_component_table

__attribute__((visibility("default"))) struct crs_component crs_component_table;

__attribute__((constructor)) static void lie(void) {
  crs_component_table = honest_table;
  crs_component_table.name = "liar";
  crs_component_table.capabilities |= CRS_COMPONENT_FILES | CRS_COMPONENT_THREADS;
}
