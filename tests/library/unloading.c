/* Loads the object named as argument, lets it register a layer, and unloads it. Prints how the next two checkpoints
 * went. */
#include <crs/crs.h>
#include <dlfcn.h>
#include <stdio.h>

int main(int count, char** arguments) {
  int told = 0;
  int first = 0;
  struct crs_init_options options = {sizeof options, "none", NULL, NULL, NULL, NULL, NULL, 1};
  void* object = count == 2 ? dlopen(arguments[1], RTLD_NOW) : NULL;
  int (*begin)(int*) = NULL;
  if (object == NULL || crs_init(&options) != CRS_OK) return 1;
  *(void**)&begin = dlsym(object, "begin");
  if (begin == NULL || begin(&told) != CRS_OK) return 2;
  if (crs_checkpoint(NULL, NULL) != CRS_OK || told != 2) return 3;
  if (dlclose(object) != 0 || dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD) != NULL) return 4;
  first = crs_checkpoint(NULL, NULL);
  if (first != CRS_OK) puts(crs_error_text());
  puts(crs_checkpoint(NULL, NULL) == CRS_OK && told == 2 ? "sound" : crs_error_text());
  return 0;
}
