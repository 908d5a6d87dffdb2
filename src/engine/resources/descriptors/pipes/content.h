// The unread data of a pipe.
#pragma once

#include <string_view>

#include "engine/resources/descriptors/pipes/pipes.pb.h"

namespace crs::engine {

// Copies what is in the pipe behind `read_end` into `pipe`, with the boundaries of packets, and takes nothing out of it
// (tee(2)). `packet_mode`: a writer is in packet mode now. Sets capacity and pieces.
void copy_pipe_content(int read_end, bool packet_mode, std::string_view name, image::Pipe& pipe);

// Puts it into an empty pipe.
void fill_pipe(int write_end, const image::Pipe& pipe);

}  // namespace crs::engine
