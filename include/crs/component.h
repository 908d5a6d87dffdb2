/* A checkpointer as CRS sees it, for components written in C: the counterpart of crs/component.hpp.
 *
 * A component is a shared object, NAME.so, in one of the directories of $CRS_COMPONENT_PATH or in the installed one
 * (LIBDIR/crs). It exports one symbol, crs_component_table, which says what the component is called, what it brings
 * back, and where its operations are. The same object works in the command crs and in a program that is linked with
 * libcrs, statically or not: it needs nothing but this header.
 *
 *   static int query(const struct crs_component_host* host, struct crs_component_answer* answer) { ... }
 *
 *   CRS_COMPONENT_TABLE = {
 *       CRS_COMPONENT_HEAD, .name = "memo", .version = "1.0", .description = "Keeps a memo", .query = query, ...
 *   };
 *
 * Versions. The major number must be the host's, or nothing of the object is called. A later minor version adds members
 * at the end of structures and nothing else. Every structure begins with its size, set by whoever made it: read (or
 * write) a member that is newer than version 2.1 only if CRS_COMPONENT_HAS says that it is there.
 *
 * Operations. Each returns CRS_COMPONENT_OK, or another status after it told the host why (crs_component_host.fail). A
 * null pointer stands for an operation that is not supported. Those of one state (what init has made; a program may
 * select a component more than once, each with a state of its own) are called by one thread at a time, save for
 * disable_checkpoint, enable_checkpoint and register_thread, which any thread may call at any time. What a host hands
 * out is valid until the operation returns, the host itself (say, fail, parameter, program) until finalize does. Texts
 * are in UTF-8 and end with a NUL; lists of texts end with a null pointer.
 *
 * C99, also C++. */
#ifndef CRS_COMPONENT_H
#define CRS_COMPONENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CRS_COMPONENT_MAJOR 2
#define CRS_COMPONENT_MINOR 6
#define CRS_COMPONENT_PATCH 0

/* Whether a structure that somebody else made has a member: CRS_COMPONENT_HAS(struct crs_component_host, host, fail).
 */
#define CRS_COMPONENT_HAS(type, pointer, member) \
  ((pointer)->size >= offsetof(type, member) + sizeof(((const type*)0)->member))

/* What an operation returns. */
enum crs_component_status {
  CRS_COMPONENT_OK = 0,
  CRS_COMPONENT_FAILED = 1,       /* anything else */
  CRS_COMPONENT_USAGE = 2,        /* wrong usage */
  CRS_COMPONENT_NOT_FOUND = 3,    /* no such process, no such snapshot */
  CRS_COMPONENT_DAMAGED = 4,      /* a snapshot fails its checks */
  CRS_COMPONENT_REFUSED = 5,      /* the program holds something that cannot be kept; nothing was written */
  CRS_COMPONENT_PROGRAM_GONE = 6, /* the program ended meanwhile */
  CRS_COMPONENT_NOT_SUPPORTED = 7 /* this component does no such thing */
};

/* What the component brings back in a restarted program: crs_component.capabilities, added up. */
#define CRS_COMPONENT_PROCESS_IDS UINT64_C(1)
#define CRS_COMPONENT_THREADS UINT64_C(2)
#define CRS_COMPONENT_PIPES UINT64_C(4)
#define CRS_COMPONENT_FILES UINT64_C(8)
#define CRS_COMPONENT_LOCAL_SOCKETS UINT64_C(16)
#define CRS_COMPONENT_OUTSIDE_CONNECTIONS UINT64_C(32)
#define CRS_COMPONENT_OTHER_PROCESSES UINT64_C(64) /* can checkpoint a process other than the caller */
/* A socket that does not come back is replaced by a dead one at its number. */
#define CRS_COMPONENT_DEAD_SOCKETS UINT64_C(128)

/* What CRS does for a component. */
struct crs_component_host {
  size_t size;
  uint32_t major; /* the host's version of this interface */
  uint32_t minor;
  void* context; /* the host's own */
  /* Says one line (without a newline) to the person in charge. Level 0 is always shown, a higher one from that value of
   * the parameter crs_NAME_verbose on. */
  void (*say)(const struct crs_component_host* host, int level, const char* line);
  /* Tells why the operation fails: what went wrong, on what, and why; and what the user can do about it (or a null
   * pointer). Returns `status`, for `return host->fail(...)`. Of several calls in one operation the last one counts. */
  int (*fail)(const struct crs_component_host* host, int status, const char* text, const char* advice);
  /* The value of a parameter that the table declares, as it would be written on the command line, of the right type; a
   * null pointer if there is none of that name. */
  const char* (*parameter)(const struct crs_component_host* host, const char* name);
  /* What the program that the component works in offers to components under this name, or a null pointer. libcrs offers
   * "self" (what the program registered with crs/self.h), the command crs nothing. */
  const void* (*program)(const struct crs_component_host* host, const char* name);
};

/* A tunable of the component's: "limit" of component "memo" is the parameter crs_memo_limit. */
enum crs_component_parameter_type { CRS_COMPONENT_STRING = 0, CRS_COMPONENT_INTEGER = 1, CRS_COMPONENT_BOOLEAN = 2 };
struct crs_component_parameter {
  const char* name;          /* small letters, digits and '_' */
  int type;                  /* enum crs_component_parameter_type */
  const char* default_value; /* as it would be written on the command line */
  const char* description;   /* one sentence */
};

/* The answer to "can you work here?". */
struct crs_component_answer {
  size_t size;
  int usable;         /* 1: yes; 0: no */
  int priority;       /* of the usable ones, the highest wins; none has 1, native 50 */
  const char* reason; /* why not, or a remark; the text must stay where it is. A null pointer: none */
};

/* One pass of an operation: how long it took, how many bytes it moved. */
struct crs_component_pass {
  const char* name;
  uint64_t nanoseconds;
  uint64_t bytes;
};

/* What the snapshot holds, for its manifest. What is left out (0, null) is filled in with what the host knows. */
struct crs_component_contents {
  size_t size;
  uint64_t pause_nanoseconds;   /* how long the program was stopped so far */
  uint64_t memory_bytes;        /* of the program's memory that the snapshot holds */
  const char* const* warnings;  /* what could not be kept exactly and why, one sentence each; or a null pointer */
  pid_t pid;                    /* of the program, as it sees itself */
  uint32_t threads;             /* how many it has */
  const char* executable;       /* its path */
  const char* const* arguments; /* its command line */
  const char* working_directory;
  const struct crs_component_pass* passes; /* in the order in which they began */
  size_t pass_count;
};

/* A snapshot in the making: a private directory that becomes visible by commit() alone. */
struct crs_component_sink {
  size_t size;
  void* context;        /* the host's own */
  const char* location; /* where the component writes its files; files called "manifest" are the host's */
  /* Makes the snapshot appear, complete and durable, in one step. To be called once, when everything is written. If it
   * fails there is no snapshot: return what it returned, the host knows why. */
  int (*commit)(const struct crs_component_sink* sink, const struct crs_component_contents* contents);
};

/* CRS_COMPONENT_STOP: another process is left stopped. The caller goes on as with CRS_COMPONENT_CONTINUE; the host
 * stops it when its layers have been told. */
enum crs_component_after { CRS_COMPONENT_CONTINUE = 0, CRS_COMPONENT_STOP = 1, CRS_COMPONENT_KILL = 2 };

/* Addresses [start, end) of the program. */
struct crs_component_range {
  uint64_t start;
  uint64_t end;
};

struct crs_component_checkpoint_options {
  size_t size;
  void* context;                             /* the host's own */
  int after;                                 /* enum crs_component_after: what becomes of the program afterwards */
  const char* const* leave_out;              /* what the user allows to be left out of the snapshot ("fd=7") */
  const struct crs_component_range* exclude; /* areas whose content is not to be saved */
  size_t exclude_count;
  const int* expendable; /* descriptors that the program's layers close and open again after a restart */
  size_t expendable_count;
  int channel;                 /* for components that stand outside of the program (crs/component.hpp); -1: none */
  const char* remembered_path; /* a file for notes from one checkpoint to the next; "": none */
  /* Says one line to the one who asked for the checkpoint. */
  void (*progress)(const struct crs_component_checkpoint_options* options, const char* line);
  const char* compression; /* as the user said it: "none", "zstd", "zstd:LEVEL" or "auto"; "": as the component likes */
  uint64_t write_limit;    /* bytes a second; 0: any number */
};

/* How checkpoint() returned. */
enum crs_component_state {
  CRS_COMPONENT_WENT_ON = 0,   /* the program goes on */
  CRS_COMPONENT_RESTARTED = 1, /* this is the restarted program */
  CRS_COMPONENT_ENDS = 2       /* after CRS_COMPONENT_KILL: the program has been or will be ended */
};

struct crs_component_outcome {
  size_t size;
  int state;                  /* enum crs_component_state */
  uint64_t pause_nanoseconds; /* how long the program did not run */
};

/* A committed snapshot. */
struct crs_component_snapshot {
  size_t size;
  const char* component; /* which wrote it */
  const char* reference; /* JOB@SEQ */
  const char* location;  /* absolute path of its directory */
  /* 1: there is only the location, the two above are "". Whoever needs the rest reads the manifest (options->rebuild);
   * cleared by the component when it has what it needs. Always 0 for a component built for a version before 2.5. */
  int cold_start;
  const char* remote_location; /* since 2.5: a copy elsewhere, or "" */
};

enum crs_component_ids {
  CRS_COMPONENT_IDS_AUTOMATIC = 0,
  CRS_COMPONENT_IDS_KEEP = 1,
  CRS_COMPONENT_IDS_NAMESPACE = 2,
  CRS_COMPONENT_IDS_NEW = 3
};

struct crs_component_restart_options {
  size_t size;
  void* context;            /* the host's own */
  int spawn_child;          /* 1: the program becomes a new process. 0: the calling process becomes the program, and
                             * the operation does not return unless it fails */
  int ids;                  /* enum crs_component_ids */
  int accept_changed_files; /* 1: files of the program that have changed since are no reason to fail */
  int detach;               /* 1: the program must outlive the caller */
  int channel;              /* as in crs/component.hpp; -1: none */
  const char* set_aside_directory; /* for what is taken out of the user's files; "": there is none */
  const char* remembered_path;     /* as in crs_component_checkpoint_options */
  unsigned int file_mode_mask;     /* umask(2) of a program that begins anew; the caller's own may be another one */
  void (*progress)(const struct crs_component_restart_options* options, const char* line);
  /* To be called with the program's id just before it runs, when nothing is likely to fail any more. */
  void (*before_start)(const struct crs_component_restart_options* options, pid_t pid);
  /* Since 2.5. After a cold start: fills in what the snapshot's manifest says, and clears cold_start. */
  int (*rebuild)(const struct crs_component_restart_options* options, struct crs_component_snapshot* snapshot);
};

/* The restarted program, which runs when restart() returns. */
struct crs_component_restarted {
  size_t size;
  void* context;  /* the host's own */
  pid_t pid;      /* as the caller sees it */
  pid_t wait_pid; /* the caller's child to wait for, if it is another one; else 0 */
  /* Adds something that the user should know. */
  void (*note)(struct crs_component_restarted* restarted, const char* line);
};

/* A command about to be started. The setters copy what they are given; what stands here does not change. Each returns a
 * status. */
struct crs_component_plan {
  size_t size;
  void* context; /* the host's own */
  int rank;
  const char* base_directory; /* where snapshots go */
  const char* application;    /* path or name of the executable */
  const char* working_directory;
  const char* const* arguments;   /* [0] included */
  const char* const* environment; /* NAME=VALUE */
  int (*set_application)(struct crs_component_plan* plan, const char* application);
  int (*set_working_directory)(struct crs_component_plan* plan, const char* directory);
  int (*set_arguments)(struct crs_component_plan* plan, const char* const* arguments);
  int (*set_variable)(struct crs_component_plan* plan, const char* name, const char* value); /* null: removed */
};

/* The component. `state` is what init made of the pointer that it was handed. */
struct crs_component {
  size_t size;
  uint32_t major;
  uint32_t minor;
  uint32_t patch;
  uint64_t capabilities;
  const char* name; /* small letters, digits and '_' */
  const char* version;
  const char* description; /* one line */
  const struct crs_component_parameter* parameters;
  size_t parameter_count;
  /* Whether it can work here; may be asked any number of times. Must not change anything. */
  int (*query)(const struct crs_component_host* host, struct crs_component_answer* answer);
  /* Once, before every other operation, on the selected component only. */
  int (*init)(const struct crs_component_host* host, void** state);
  int (*finalize)(const struct crs_component_host* host, void* state);
  /* Takes a snapshot of process `pid`; 0 or the own id: of the calling process. If it fails nothing was committed and
   * the program goes on unharmed. */
  int (*checkpoint)(const struct crs_component_host* host, void* state, pid_t pid,
                    const struct crs_component_sink* sink, const struct crs_component_checkpoint_options* options,
                    struct crs_component_outcome* outcome);
  /* Starts the program of a snapshot again. If it fails nothing is left. */
  int (*restart)(const struct crs_component_host* host, void* state, struct crs_component_snapshot* snapshot,
                 const struct crs_component_restart_options* options, struct crs_component_restarted* restarted);
  /* Critical sections of the calling thread; they nest. A thread that ends in some leaves them as it ends. */
  int (*disable_checkpoint)(const struct crs_component_host* host, void* state);
  int (*enable_checkpoint)(const struct crs_component_host* host, void* state);
  /* Before a program is started under CRS. */
  int (*prelaunch)(const struct crs_component_host* host, void* state, struct crs_component_plan* plan);
  /* Announces the calling thread as one that enters critical sections. */
  int (*register_thread)(const struct crs_component_host* host, void* state);
  /* Since 2.6; may be null: then nothing is asked beforehand. Whether restart() with these options can begin, as far as
   * that can be told: whoever asks gives itself up for it next. Starts nothing and changes nothing. The snapshot is
   * filled in already, unless cold_start says that the host could not do so. */
  int (*check_restart)(const struct crs_component_host* host, void* state,
                       const struct crs_component_snapshot* snapshot,
                       const struct crs_component_restart_options* options);
};

/* The symbol, to be followed by "= { CRS_COMPONENT_HEAD, ... };" once in the object. */
extern __attribute__((visibility("default"))) const struct crs_component crs_component_table;
#define CRS_COMPONENT_TABLE const struct crs_component crs_component_table
#define CRS_COMPONENT_HEAD sizeof(struct crs_component), CRS_COMPONENT_MAJOR, CRS_COMPONENT_MINOR, CRS_COMPONENT_PATCH

#ifdef __cplusplus
}
#endif

#endif
