// Seccomp filters (seccomp(2)): which programs cannot be kept because of them.
#pragma once

#include <sys/types.h>

#include "engine/resources/context.h"

namespace crs::engine {

// Refuses a process with a thread under seccomp, unless every such thread has as many filters as CRS itself: filters
// cannot be taken off, so that is a container's, around both. To be asked before any remote call: a filter may end the
// program for a call that it does not know.
void refuse_seccomp(pid_t pid, Refusals& refusals);

// The number of filters around a thread; 0 also where the kernel does not tell.
std::uint32_t seccomp_filters_of(pid_t tid);

}  // namespace crs::engine
