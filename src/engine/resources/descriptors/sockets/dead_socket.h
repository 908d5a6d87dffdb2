// Making a socket that is dead from the start.
#pragma once

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/sockets/sockets.h"

namespace crs::engine {

// A socket of that kind that leads nowhere and is bound to nothing. One for connections gives ECONNRESET at the first
// use and end of file (EPIPE) from then on, EINVAL to accept(2) and EISCONN to connect(2); any other gives end of file,
// or EAGAIN where its family has no shutdown(2). Throws where no such socket can be made.
FileDescriptor make_dead_socket(const SocketKind& kind);

}  // namespace crs::engine
