/* For programs that save themselves: what component self needs to know of them. Part of libcrs.
 *
 * Three ways, which may be combined:
 *
 * 1. Name the memory that matters. A checkpoint writes it, checksummed; in the restarted program, which begins anew at
 *    main(), the same call brings it back:
 *
 *      if (crs_self_protect(1, &grid, sizeof grid) == 0) initialise(&grid);
 *
 * 2. Register three functions with crs_self_set_callbacks(). They do the saving themselves.
 *
 * 3. Define three functions with certain names, as programs did in 2009:
 *
 *      int crs_self_user_checkpoint(char** restart_command);
 *      int crs_self_user_continue(void);
 *      int crs_self_user_restart(void);
 *
 *    The parameter crs_self_prefix says how the names begin ("crs_self_user"). They are looked up in the running
 *    program, so the executable must export them. The CMake package and pkg-config see to that where the names are
 *    these three; otherwise link it with -rdynamic. Functions that were registered win.
 *
 * A restart runs the program's own command line again in the working directory of the checkpoint, or the restart
 * command that it chose; never through a shell.
 *
 * Every function here may be called from any thread, before or after crs_init(). Callbacks are called by the thread
 * that carries out the checkpoint, one at a time; they return 0, or something else if they failed. A callback that
 * fails makes the checkpoint fail: earlier snapshots stay as they are and every layer is told. So it is, too, where one
 * ends its thread (pthread_exit(3)), which ends alone.
 *
 * C99, also C++. */
#ifndef CRS_SELF_H
#define CRS_SELF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* Protects `bytes` bytes of memory under a number of the program's own: from now on every checkpoint saves them. The
 * number must be new; an area that moves, or grows, is unprotected first.
 * Returns 1 if this is a restarted program and the memory now holds what was saved under the number; 0 if there was
 * nothing to bring back; -1 if something is wrong: the snapshot is damaged, or holds another size under this number.
 * The area is not protected then, and what it held is unchanged, unless the disk failed in the middle. A number is
 * brought back once: an area that is protected under it again stays as the program has it. */
int crs_self_protect(uint64_t id, void* memory, size_t bytes);

/* Ends that. Returns 0, or -1 if nothing is protected under the number. */
int crs_self_unprotect(uint64_t id);

/* Called before the snapshot is complete. May set *restart_command, which is null, to a command in memory from
 * malloc(3), which is freed for it: words separated by spaces, where ' and " and \ quote as in a shell, and nothing
 * else is special: there are no variables, patterns, pipes. A null pointer: as crs_self_set_restart_command() says. */
typedef int crs_self_checkpoint_callback(void* data, char** restart_command);
/* Called when the program goes on (continue), and in the restarted program (restart). */
typedef int crs_self_callback(void* data);

/* Any of the three may be a null pointer, which does nothing and succeeds; all three: none are registered any more. In
 * a restarted program `restart` is called at once, if no other restart callback was. Returns 0, or -1 if `restart`
 * failed. */
int crs_self_set_callbacks(crs_self_checkpoint_callback* checkpoint, crs_self_callback* go_on,
                           crs_self_callback* restart, void* data);

/* What a restart runs: arguments up to a null pointer, the first is the program (looked for in $PATH if it has no '/');
 * and where, a null pointer: in the working directory at the time of the checkpoint. Null arguments: the program's own
 * command line, which is the default. Returns 0, or -1 for an empty list. */
int crs_self_set_restart_command(const char* const* arguments, const char* working_directory);

/* The snapshot that this program was restarted from, JOB@SEQ, or a null pointer. */
const char* crs_self_restarted_from(void);

/* What went wrong in the last call of this thread that returned -1. */
const char* crs_self_problem(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
