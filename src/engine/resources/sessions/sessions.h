// Sessions and process groups (credentials(7)). A process that leads one leads one again; otherwise a restarted program
// belongs to the session and group of the restart command, as any program started from there.
#pragma once

#include "engine/resources/context.h"
#include "engine/resources/sessions/sessions.pb.h"

namespace crs::engine {

void capture_session(CaptureContext& context, image::Session& session);

// In the newborn. A program that had a controlling terminal and is restarted in the foreground stays in the session and
// the group of the restart command: it is to read from that one's terminal and to be stopped from it.
void restore_session_inside(NewbornContext& context, const image::Session& session);

}  // namespace crs::engine
