/* A shared object with a layer. With TIDY it takes the layer out before it is unloaded. */
#include <crs/crs.h>

static crs_layer* layer;

static int notify(void* context, enum crs_state state) {
  (void)state;
  ++*(int*)context;
  return CRS_ANSWER_DONE;
}

int begin(int* told);
int begin(int* told) { return crs_register("unloaded", notify, told, &layer); }

#ifdef TIDY
__attribute__((destructor)) static void end(void) { crs_unregister(layer); }
#endif
