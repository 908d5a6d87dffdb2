/* A program with a service that asks for its own checkpoints, each with another option: what a component cannot take is
 * an error that names it, and the others are carried out. Then each of them once more by the module alone. */
#include <crs/crs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kBytes = 8 << 20 };

static crs_module* module; /* or a null pointer: the service */

static void take(const char* name, const struct crs_checkpoint_options* options) {
  struct crs_snapshot snapshot = {.size = sizeof snapshot};
  crs_checkpointed* outcome = NULL;
  const int result =
      module != NULL ? crs_module_checkpoint(module, 0, &snapshot, options, NULL) : crs_checkpoint(options, &outcome);
  if (result != CRS_OK) {
    printf("%s: %s\n", name, crs_error_text());
    return;
  }
  printf("%s: taken %s\n", name, module != NULL ? snapshot.reference : crs_checkpointed_reference(outcome));
  if (module != NULL)
    crs_snapshot_clear(&snapshot);
  else
    crs_checkpointed_free(outcome);
}

static struct crs_checkpoint_options options_of(const char* compression) {
  struct crs_checkpoint_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.compression = compression;
  return options;
}

static void take_all(void) {
  const char* const odd_rule[] = {"odd=/x", NULL};
  struct crs_checkpoint_options options = options_of("none");
  const pid_t child = fork();
  if (child == 0)
    for (;;) pause();
  take("plain", &options);
  options = options_of("zstd");
  take("small", &options);
  options = options_of("strange");
  take("strange", &options);
  options = options_of("none");
  options.files = odd_rule;
  take("files", &options);
  options = options_of("none");
  options.tcp = (enum crs_tcp)7;
  take("tcp", &options);
  options = options_of("none");
  options.single = 1;
  take("single", &options);
  options = options_of("none");
  options.incremental = 1;
  take("first", &options);
  take("second", &options);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
}

int main(void) {
  char* const memory = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 2;
  memset(memory, 'a', kBytes);
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (crs_init(NULL) != CRS_OK) return puts(crs_error_text()), 1;
  take_all();
  if (crs_finalize() != CRS_OK) return puts(crs_error_text()), 1;
  if (crs_module_select(NULL, &module) != CRS_OK) return puts(crs_error_text()), 1;
  take_all();
  return crs_module_finalize(module) == CRS_OK ? 0 : 1;
}
