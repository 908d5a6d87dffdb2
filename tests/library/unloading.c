/* Loads the object named as argument, lets it register a layer, and unloads it. Prints how the next two checkpoints
 * went. */
#include <crs/crs.h>
#include <dlfcn.h>
#include <stdio.h>

int main(int count, char** arguments) {
  int told = 0;
  int first = 0;
  struct crs_init_options options = {sizeof options, "none", NULL, NULL, NULL, NULL, NULL, 1};
  crs_checkpointed* outcome = NULL;
  void* object = count == 2 ? dlopen(arguments[1], RTLD_NOW) : NULL;
  int (*begin)(int*) = NULL;
  if (object == NULL || crs_init(&options) != CRS_OK) return 1;
  *(void**)&begin = dlsym(object, "begin");
  if (begin == NULL || begin(&told) != CRS_OK) return 2;
  if (crs_checkpoint(NULL, NULL) != CRS_OK || told != 2) return 3;
  if (dlclose(object) != 0 || dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD) != NULL) return 4;
  first = crs_checkpoint(NULL, NULL);
  if (first != CRS_OK) puts(crs_error_text());
  if (crs_checkpoint(NULL, &outcome) != CRS_OK || told != 2) {
    puts(crs_error_text());
  } else {
    puts(crs_checkpointed_layer(outcome, 0, NULL, NULL) == NULL ? "sound" : "the layer is still told");
  }
  crs_checkpointed_free(outcome);
  return 0;
}
