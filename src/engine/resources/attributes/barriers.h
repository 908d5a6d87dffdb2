// The registrations of a process for the barriers of membarrier(2), without which its "expedited" commands fail.
#pragma once

#include "engine/resources/attributes/attributes.pb.h"
#include "engine/resources/context.h"

namespace crs::engine {

// What that is going to ask.
void foresee_barriers(Questions& questions);
void capture_barriers(RemoteCaller& remote, image::Attributes& attributes);
// To be called before the process has further threads: with several, the kernel waits for all processors each time, in
// milliseconds. Where the registrations are unknown, makes all that the kernel has: what a program sees of one that it
// did not ask for is that a command works which would have failed.
void restore_barriers(RestoreContext& context, const image::Attributes& attributes);

}  // namespace crs::engine
