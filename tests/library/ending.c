/* A program with a service that ends, mostly without a word to it. The argument says how, when SIGUSR1 has come:
 *   return   from main()
 *   section  from main(), inside of a critical section
 *   thread   from main(), while another thread is inside of one
 *   finalize as thread, when it has ended its service
 *   busy     as finalize, but no thread is inside of a critical section: a snapshot is being taken
 *   inside   as finalize, after a layer has tried the same while a checkpoint was carried out
 *   exited   by another thread that takes a checkpoint, while main() has ended its own inside of a critical section
 *   cancelled as return, after a thread that is cancelled has ended its service and tried to make it anew
 *   fork     as return, after a child of fork(2) has ended so
 *   layer    by a layer that is told of a checkpoint; SIGUSR1 is not waited for */
#include <crs/crs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char* line) {
  puts(line);
  fflush(stdout);
}

static void* stay_inside(void* unused) {
  crs_register_thread("other");
  crs_enter_critical_section();
  say("waiting");
  for (;;) pause();
  return unused;
}

static void* end_cancelled(void* unused) {
  pthread_cancel(pthread_self());
  if (crs_finalize() != CRS_OK || crs_init(NULL) != CRS_OK) exit(5);
  pthread_testcancel();
  return unused;
}

static void* checkpoint_and_end(void* set) {
  struct crs_checkpoint_options options = {.size = sizeof options, .time_limit = 10};
  int signal = 0;
  sigwait(set, &signal);
  exit(crs_checkpoint(&options, NULL) == CRS_OK ? 3 : 4);
}

static int end(void* unused, enum crs_state state) {
  (void)unused;
  if (state == CRS_STATE_CHECKPOINT) exit(3);
  return CRS_ANSWER_DONE;
}

static int finalize(void* unused, enum crs_state state) {
  (void)unused;
  (void)state;
  if (crs_finalize() != CRS_FAILED || strstr(crs_error_text(), "a checkpoint is under way") == NULL) exit(4);
  return crs_is_initialized() ? CRS_ANSWER_DONE : CRS_ANSWER_FAILED;
}

int main(int argc, char** argv) {
  const char* way = argc > 1 ? argv[1] : "";
  crs_layer* layer = NULL;
  pthread_t thread;
  static sigset_t set;
  int signal = 0;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  if (strcmp(way, "exited") == 0) setenv("CRS_PARAM_crs", "none", 1);
  if (crs_init(NULL) != CRS_OK) return puts(crs_error_text()), 1;
  if (strcmp(way, "layer") == 0 && crs_register("ending", end, NULL, &layer) != CRS_OK) return 1;
  if (strcmp(way, "inside") == 0 && crs_register("inside", finalize, NULL, &layer) != CRS_OK) return 1;
  if (strcmp(way, "section") == 0) crs_register_thread("main"), crs_enter_critical_section();
  if (strcmp(way, "fork") == 0) {
    pid_t child = fork();
    if (child == 0) exit(0);
    waitpid(child, NULL, 0);
  }
  if (strcmp(way, "thread") == 0 || strcmp(way, "finalize") == 0) {
    if (pthread_create(&thread, NULL, stay_inside, NULL) != 0) return 1;
  } else {
    say("waiting");
  }
  if (strcmp(way, "exited") == 0) {
    crs_enter_critical_section();
    if (pthread_create(&thread, NULL, checkpoint_and_end, &set) != 0) return 1;
    pthread_exit(NULL);
  }
  sigwait(&set, &signal);
  if (strcmp(way, "finalize") == 0 || strcmp(way, "busy") == 0 || strcmp(way, "inside") == 0) {
    if (crs_finalize() != CRS_OK) return 1;
    if (crs_unregister(layer) != CRS_OK) return 1; /* which a leak checker would miss */
  }
  if (strcmp(way, "cancelled") == 0) {
    void* result = NULL;
    if (pthread_create(&thread, NULL, end_cancelled, NULL) != 0) return 1;
    pthread_join(thread, &result);
    if (result != PTHREAD_CANCELED) return 4;
  }
  return 3;
}
