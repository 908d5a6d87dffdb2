// Sessions and process groups (credentials(7)). A process that leads one leads one again; otherwise a restarted program
// belongs to the session and group of the restart command, as any program started from there.
#pragma once

#include "engine/resources/context.h"
#include "engine/resources/sessions/sessions.pb.h"

namespace crs::engine {

// Of process `pid` (a zombie, too), which sees itself as `own_pid`; `status` is its.
void capture_session(pid_t pid, const ProcessStatus& status, pid_t own_pid, image::Session& session);

// Where the program belongs in its new life.
enum class SessionPlace {
  OfCaller,  // in the restart command's session and process group
  OwnGroup,  // in its session, leading a group
  OwnSession,
};

// In the restart command. A program that had a controlling terminal and is restarted in the foreground stays in the
// command's session: it is to read from that one's terminal and to be stopped from it. There it leads a process group
// again, as a shell's job does and a shell must, if the command is such a job by itself: where it shares its group or
// the other end of a stream with other commands (`crs restart sim | less`), the terminal is all of theirs.
// `leaves_stopped`: parts of it are stopped, and the command ends before it. Then it shares no group with the command,
// whose end would leave that orphaned: the kernel sends such a group SIGHUP (setpgid(2)).
SessionPlace session_place(const image::Session& session, const RestartOptions& options, bool leaves_stopped);

// In the newborn.
void restore_session_inside(SessionPlace place);

}  // namespace crs::engine
