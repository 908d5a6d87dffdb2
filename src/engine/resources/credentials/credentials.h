// Credentials: user and group ids, supplementary groups, capabilities, securebits, no_new_privs and seccomp filters,
// for each thread (to the kernel, credentials belong to a thread).
//
// Only what differs from the newborn's own credentials is set. So an ordinary user's program comes back without any
// privilege, also in a private user namespace that maps no id but that user's; and what cannot be set is an Error that
// names it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>

#include "engine/resources/context.h"
#include "engine/resources/credentials/credentials.pb.h"

namespace crs::engine {

// Of each thread, as CRS sees its id. Only the thread itself can tell (PR_GET_SECUREBITS).
using Securebits = std::map<pid_t, std::uint32_t>;
std::uint32_t securebits_of(RemoteCaller& thread);
// What that is going to ask.
void foresee_securebits(Questions& questions);

// A thread that is not in `securebits` has those of the main thread, which is asked if it is not there either. Warns of
// a security label that differs from that of CRS.
void capture_credentials(CaptureContext& context, const Securebits& securebits, image::Credentials& credentials);
// Throws what this caller cannot give back, before anything is started.
void check_credentials(CheckContext& context, const image::Credentials& credentials);
// Sets the seccomp filters and credentials of every thread. The last step that may need privilege in the newborn. The
// kernel resets the dumpable attribute and parent-death signals here: finish_attributes comes after.
void restore_credentials(RestoreContext& context, const image::Credentials& credentials);

}  // namespace crs::engine
