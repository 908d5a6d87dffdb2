#include "engine/resources/sessions/sessions.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"

namespace crs::engine {
namespace {

constexpr int kControllingTerminal = 7;  // field of /proc/PID/stat

// A command that a shell with job control, or a terminal's own process, has started alone: it leads its group, and its
// streams are the terminal's (tcgetpgrp(3) fails for any other than the controlling one).
bool is_job_on_terminal() {
  return ::getpgrp() == ::getpid() && ::tcgetpgrp(STDIN_FILENO) >= 0 && ::tcgetpgrp(STDOUT_FILENO) >= 0;
}

}  // namespace

void capture_session(pid_t pid, const ProcessStatus& status, pid_t own_pid, image::Session& session) {
  session.set_session(static_cast<int>(status.numbers("NSsid").back()));
  session.set_group(static_cast<int>(status.numbers("NSpgid").back()));
  session.set_session_leader(session.session() == own_pid);
  session.set_group_leader(session.group() == own_pid);
  session.set_controlling_terminal(stat_number(pid, kControllingTerminal) != 0);
}

SessionPlace session_place(const image::Session& session, const RestartOptions& options, bool leaves_stopped) {
  const bool leader = session.group_leader() || session.session_leader() || leaves_stopped;
  // A process that becomes the program: what leads a group or a session already, as it does when it rolls itself back,
  // can lead no other (setsid(2)).
  if (options.replace_caller && ::getpgrp() == ::getpid()) return SessionPlace::OfCaller;
  if (session.controlling_terminal() && !options.detach)
    return leader && is_job_on_terminal() ? SessionPlace::OwnGroup : SessionPlace::OfCaller;
  if (session.session_leader()) return SessionPlace::OwnSession;
  return leader ? SessionPlace::OwnGroup : SessionPlace::OfCaller;
}

void restore_session_inside(SessionPlace place) {
  if (place == SessionPlace::OwnSession && ::setsid() < 0)
    fail_errno(errno, "cannot make the program a session leader");
  if (place == SessionPlace::OwnGroup && ::setpgid(0, 0) != 0)
    fail_errno(errno, "cannot make the program a process group leader");
}

}  // namespace crs::engine
