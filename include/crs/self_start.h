/* For programs that were written when nobody had to start anything: whoever includes this header, in one source file,
 * has the service of libcrs from before main() on. Functions found by their names (crs/self.h) are then all that the
 * program needs: link it with libcrs (crs/self.h says when -rdynamic is needed). In a restarted program its restart
 * function is called before main(), too.
 *
 * If the service cannot be started, that is said on standard error, and the program goes on without; a restarted
 * program ends with status 1, since its restart function was not called or failed. C99, also C++. */
#ifndef CRS_SELF_START_H
#define CRS_SELF_START_H

#ifdef __cplusplus
extern "C" {
#endif

/* Starts the service if there is none. */
__attribute__((visibility("default"))) void crs_self_start(void);

static void __attribute__((constructor, used)) crs_self_start_before_main(void) { crs_self_start(); }

#ifdef __cplusplus
}
#endif

#endif
