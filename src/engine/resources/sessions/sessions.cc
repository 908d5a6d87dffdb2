#include "engine/resources/sessions/sessions.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

#include "base/error.h"
#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

// /proc/PID/stat, field 7 (proc_pid_stat(5)); the name in field 2 may hold anything, so count from its end.
int controlling_terminal_of(pid_t pid) {
  const std::string text = read_task_file(pid, "stat");
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string state;
  int parent = 0;
  int group = 0;
  int session = 0;
  int terminal = 0;
  fields >> state >> parent >> group >> session >> terminal;
  return terminal;
}

// A command that a shell with job control, or a terminal's own process, has started alone: it leads its group, and its
// streams are the terminal's (tcgetpgrp(3) fails for any other than the controlling one).
bool is_job_on_terminal() {
  return ::getpgrp() == ::getpid() && ::tcgetpgrp(STDIN_FILENO) >= 0 && ::tcgetpgrp(STDOUT_FILENO) >= 0;
}

}  // namespace

void capture_session(CaptureContext& context, image::Session& session) {
  const ProcessStatus status = ProcessStatus::of(context.pid);
  const auto own = static_cast<std::uint64_t>(context.own_pid);
  session.set_session_leader(status.numbers("NSsid").back() == own);
  session.set_group_leader(status.numbers("NSpgid").back() == own);
  session.set_controlling_terminal(controlling_terminal_of(context.pid) != 0);
}

SessionPlace session_place(const image::Session& session, const RestartOptions& options) {
  const bool leader = session.group_leader() || session.session_leader();
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
