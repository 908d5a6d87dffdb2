/* The service of a program, for C: the counterpart of crs/crs.hpp, which says more about every operation.
 *
 *   static int notify(void* context, enum crs_state state) { ... return CRS_ANSWER_DONE; }
 *
 *   if (crs_init(NULL) != CRS_OK) { fprintf(stderr, "%s\n", crs_error_text()); ... }
 *   crs_layer* layer;
 *   crs_register("messages", notify, my_messages, &layer);
 *   crs_checkpointed* outcome;
 *   crs_checkpoint(NULL, &outcome);
 *
 * Every function that can fail returns a status (enum crs_status), and crs_error_text() then says why. Results behind a
 * pointer are written on CRS_OK alone. A null pointer for them is CRS_USAGE, as for what is asked for by nothing else
 * (a layer's handle, a claim, a list, a text); it means "not wanted" for the outcome of crs_checkpoint(), *closed of
 * crs_ledger_close(), the ids of restarted programs, and the state of crs_module_checkpoint(). Structures begin with
 * their size, which the caller sets: struct crs_init_options options = {sizeof options}; one that is too small for the
 * first version of the structure is CRS_USAGE. Texts are in UTF-8 and end with a NUL. Functions may be called from any
 * thread.
 *
 * C99, also C++. */
#ifndef CRS_CRS_H
#define CRS_CRS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

enum crs_status {
  CRS_OK = 0,
  CRS_FAILED = 1,      /* anything else */
  CRS_USAGE = 2,       /* wrong usage */
  CRS_NOT_FOUND = 3,   /* no such job, snapshot or process */
  CRS_DAMAGED = 4,     /* a snapshot fails its checks */
  CRS_REFUSED = 5,     /* the program holds something that cannot be kept; nothing was written */
  CRS_PROGRAM_GONE = 6 /* the program ended meanwhile */
};

/* --- Errors: of the calling thread's last call that failed, valid until its next one. --- */

/* One line: what failed, where, why, what to do. "" if nothing failed yet. */
const char* crs_error_text(void);
/* What can be done about it, or "". */
const char* crs_error_advice(void);
int crs_error_status(void);
/* The errno behind it, or 0. */
int crs_error_number(void);
/* The causes, the first one first. A null pointer from `index` = their number on. */
const char* crs_error_cause(size_t index);

/* --- The service --- */

struct crs_init_options {
  size_t size;
  const char* component;         /* a null pointer: the parameter `crs` decides */
  const char* const* parameters; /* "name=value", up to a null pointer; or a null pointer */
  const char* store;             /* where the snapshots are; a null pointer: as the command crs */
  const char* job;               /* a null pointer: one is chosen; what cannot be one is CRS_USAGE */
  /* Gets lines for the person in charge; a null pointer: they go to standard error. */
  void (*output)(void* context, const char* line);
  void* output_context;
  int no_requests; /* 1: `crs checkpoint` cannot ask from outside */
};

/* A null pointer: the defaults. CRS_USAGE where there is a service already, or another thread is just making one. */
int crs_init(const struct crs_init_options* options);
/* Waits for a checkpoint that another thread carries out, up to the parameter crs_wait_limit: then it fails, and the
 * service goes on. It fails in a layer, a progress function, of one. To be called when no other thread uses the service
 * otherwise. It need not be called. */
int crs_finalize(void);
int crs_is_initialized(void); /* 1 or 0 */
/* The selected component's name, in memory that crs_free() releases. */
int crs_component_name(char** name);

enum crs_state {
  CRS_STATE_CHECKPOINT = 0,  /* prepare for a snapshot */
  CRS_STATE_RESTART_PRE = 1, /* the image was just restored: release what is stale, reopen nothing */
  CRS_STATE_RESTART = 2,     /* rebuild */
  CRS_STATE_CONTINUE = 3,    /* the same process goes on after the snapshot */
  CRS_STATE_TERM = 4,        /* the snapshot is taken and the process will end */
  CRS_STATE_RUNNING = 5,     /* nothing is going on */
  CRS_STATE_ERROR = 6        /* the checkpoint failed; the program goes on */
};
/* "checkpoint", "restart-pre", ... */
const char* crs_state_name(enum crs_state state);
int crs_get_state(enum crs_state* state);

/* --- Layers --- */

enum crs_answer {
  CRS_ANSWER_DONE = 0,
  CRS_ANSWER_NOT_YET = 1, /* to CHECKPOINT only: asked again, until the checkpoint's time limit */
  CRS_ANSWER_REOPEN = 2,  /* to CHECKPOINT only: "I closed what I hold": RESTART_PRE and RESTART instead of CONTINUE */
  CRS_ANSWER_FAILED = 3   /* best by return crs_layer_failed("why") */
};
typedef struct crs_layer crs_layer;

/* Returns an enum crs_answer. Called by the thread that carries out the checkpoint or restart. May call everything but
 * crs_checkpoint(), crs_restart() and crs_finalize(); the first and the last fail there. */
typedef int crs_layer_function(void* context, enum crs_state state);

/* On top of those that are there. The name is copied. A shared object that registers layers unregisters them before it
 * is unloaded, at the latest in a destructor (__attribute__((destructor))). If it does not, the next checkpoint fails
 * with an error that names the layer and the object, and later ones go on without the layer. */
int crs_register(const char* name, crs_layer_function* notify, void* context, crs_layer** layer);
/* Waits while another thread is telling the layer something, up to the parameter crs_wait_limit: then it fails, and the
 * layer is registered as before. A null pointer: nothing. Also after crs_finalize(). */
int crs_unregister(crs_layer* layer);
/* Notes why a layer fails; returns CRS_ANSWER_FAILED. */
int crs_layer_failed(const char* why);
/* A layer that answered CRS_ANSWER_NOT_YET is asked again at once. */
int crs_ask_again(void);

/* --- Checkpoints --- */

enum crs_after { CRS_AFTER_CONTINUE = 0, CRS_AFTER_STOP = 1, CRS_AFTER_KILL = 2 };

enum crs_stage {
  CRS_STAGE_ACCEPTED = 0,
  CRS_STAGE_DELAYED = 1,
  CRS_STAGE_QUIESCING = 2,
  CRS_STAGE_SNAPSHOTTING = 3,
  CRS_STAGE_DONE = 4,
  CRS_STAGE_FAILED = 5
};

/* Addresses [start, end). */
struct crs_range {
  uint64_t start;
  uint64_t end;
};

/* TCP connections to other programs: reset in a restarted program, refused, or kept. */
enum crs_tcp { CRS_TCP_RESET = 0, CRS_TCP_REFUSE = 1, CRS_TCP_KEEP = 2 };

struct crs_checkpoint_options {
  size_t size;
  /* CRS_AFTER_KILL ends the program also where its component stores nothing (none, for testing layers). */
  enum crs_after after;
  /* In seconds, for critical sections and layers, and as long again for the layers of a program that ends (TERM); 0:
   * the default, 60. */
  double time_limit;
  const char* const*
      leave_out; /* what may be left out of the snapshot ("fd=7"), up to a null pointer; or a null pointer */
  /* How far it is, from the thread that carries it out; or a null pointer. */
  void (*progress)(void* context, enum crs_stage stage, const char* text);
  void* progress_context;
  const struct crs_range* exclude; /* memory that need not be saved this once; or a null pointer */
  size_t exclude_count;
  int single;      /* 1: a program that has descendants is refused, instead of taken with them */
  int incremental; /* 1: only what has changed since the last such snapshot is written */
  enum crs_tcp tcp;
  const char* compression;  /* "none", "zstd", "zstd:LEVEL", "auto"; or a null pointer: as the component likes */
  uint64_t write_limit;     /* in bytes per second; 0: none */
  const char* const* files; /* as `crs checkpoint --files` has them, up to a null pointer; or a null pointer */
};

typedef struct crs_checkpointed crs_checkpointed;

/* Takes a snapshot of this process. Returns twice: in the process that goes on, and in the restarted one, where
 * crs_checkpointed_state() is CRS_STATE_RESTART. `options` may be a null pointer. */
int crs_checkpoint(const struct crs_checkpoint_options* options, crs_checkpointed** outcome);
enum crs_state crs_checkpointed_state(const crs_checkpointed* outcome);                /* CONTINUE, RESTART or TERM */
const char* crs_checkpointed_reference(const crs_checkpointed* outcome);               /* "" where nothing is stored */
const char* crs_checkpointed_forgotten(const crs_checkpointed* outcome, size_t index); /* or a null pointer */
/* How long a layer took: its name, or a null pointer from `index` = their number on. */
const char* crs_checkpointed_layer(const crs_checkpointed* outcome, size_t index, enum crs_state* state,
                                   uint64_t* nanoseconds);
void crs_checkpointed_free(crs_checkpointed* outcome);

enum crs_ids { CRS_IDS_AUTOMATIC = 0, CRS_IDS_KEEP = 1, CRS_IDS_NAMESPACE = 2, CRS_IDS_NEW = 3 };

struct crs_restart_options {
  size_t size;
  enum crs_ids ids;         /* the program's process ids, as `crs restart --ids` */
  int accept_changed_files; /* 1: files of the program that have changed since are no reason to fail */
  double time_limit;        /* in seconds, for critical sections where this process is replaced; 0: the default, 60 */
  /* The job that the program is from now on; a null pointer: that of the snapshot. Two programs cannot be one job at a
   * time: one that starts another from a snapshot of itself may have to give it a name. */
  const char* job;
};

/* Starts a snapshot's program again. spawn_child 1: as a new process, whose id goes to *child. 0: this process becomes
 * that program, and the call returns only if it fails: the snapshot and all of its data are checked first. `options`
 * may be a null pointer. */
int crs_restart(const char* reference, int spawn_child, const struct crs_restart_options* options, pid_t* child);

/* --- Critical sections, of the calling thread; they nest --- */

int crs_register_thread(const char* name);
/* Waits while another thread carries a checkpoint out, up to the parameter crs_wait_limit: then it fails. */
int crs_enter_critical_section(void);
int crs_leave_critical_section(void);

/* --- Memory that need not be saved --- */

/* The whole pages in the area count. CRS_USAGE if it is not all anonymous memory, private or shared: the calling
 * thread's stack, a mapping of a file, addresses where nothing is. It is addresses that are excluded, not what
 * lies there now: crs_include() them BEFORE the memory is unmapped or freed. What is mapped there later, by whomever,
 * would not be saved either, and nobody would be told before a restart. Where nothing is mapped at a checkpoint, or
 * something that cannot be left out, it is passed over. */
int crs_exclude(const void* start, size_t bytes);
/* Every page that the area touches is saved again, whichever excluded areas it lies in: their rest stays excluded. */
int crs_include(const void* start, size_t bytes);
/* Both lists are in memory that crs_free() releases. */
int crs_excluded(struct crs_range** ranges, size_t* count);
int crs_lost_memory(struct crs_range** ranges, size_t* count); /* what reads as zero since the last restart */

/* --- Surroundings --- */

/* A variable as it counts since the last restart, in memory that crs_free() releases; a null pointer: not set. */
int crs_environment(const char* name, char** value);
void crs_free(void* memory);

/* --- Descriptors and their owners (crs/ledger.hpp) --- */

/* In a process that has just been restarted a thread that asks about a claimed descriptor waits until the service has
 * looked at it, up to the parameter crs_wait_limit: then the function fails, and has done nothing. */

struct crs_claim {
  int number;
  uint64_t generation;
};
int crs_ledger_claim(int number, const char* owner, struct crs_claim* claim);
int crs_ledger_is_mine(const struct crs_claim* claim, int* mine);
/* Closes the number if it is still what was claimed, and ends the claim. *closed (or a null pointer): whether. */
int crs_ledger_close(const struct crs_claim* claim, int* closed);
int crs_ledger_release(const struct crs_claim* claim);
/* Somebody who reads or waits through a claimed number without owning it: an entry in a poll set, an epoll
 * registration. While there is one, crs_ledger_close() and crs_ledger_release() fail. */
struct crs_use {
  struct crs_claim claim;
  uint64_t id;
};
int crs_ledger_add_use(const struct crs_claim* claim, const char* user, struct crs_use* use);
/* Whether the use stands and the number is still what was claimed: to be asked before each read. */
int crs_ledger_is_usable(const struct crs_use* use, int* usable);
/* Of a use that ended with its claim: nothing. */
int crs_ledger_end_use(const struct crs_use* use);

/* --- A component's module, without the service --- */

struct crs_snapshot {
  size_t size;
  char* component; /* these are in memory from malloc(3), or null pointers */
  char* reference;
  char* location;
  char* remote_location;
  int cold_start; /* 1: there is nothing but the location; cleared when the rest was read from the manifest */
};
void crs_snapshot_clear(struct crs_snapshot* snapshot);

typedef struct crs_module crs_module;

/* Selects (and initialises) and finalises. */
int crs_module_select(const struct crs_init_options* options, crs_module** module);
int crs_module_finalize(crs_module* module);
const char* crs_module_name(const crs_module* module);
/* Of process `pid`, 0: the caller, which it returns to twice. On CRS_OK *state is CONTINUE or RESTART (TERM of another
 * process), and `snapshot` names the snapshot. `options` may be a null pointer. One of the caller waits, up to the time
 * limit, until no thread has checkpoints disabled; `progress` hears of that (CRS_STAGE_DELAYED) and of nothing else. */
int crs_module_checkpoint(crs_module* module, pid_t pid, struct crs_snapshot* snapshot,
                          const struct crs_checkpoint_options* options, enum crs_state* state);
int crs_module_restart(crs_module* module, struct crs_snapshot* snapshot, int spawn_child,
                       const struct crs_restart_options* options, pid_t* child);
/* Critical sections of the calling thread; they nest. */
int crs_module_disable_checkpoint(crs_module* module);
int crs_module_enable_checkpoint(crs_module* module);
int crs_module_register_thread(crs_module* module);

/* A command about to be started. All texts are in memory from malloc(3), lists end with a null pointer; what the
 * component changes is replaced. */
struct crs_launch_plan {
  size_t size;
  int rank;
  char* base_directory;
  char* application;
  char* working_directory;
  char** arguments;   /* [0] included */
  char** environment; /* NAME=VALUE */
};
int crs_module_prelaunch(crs_module* module, struct crs_launch_plan* plan);
/* By the component of the service. */
int crs_prelaunch(struct crs_launch_plan* plan);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
