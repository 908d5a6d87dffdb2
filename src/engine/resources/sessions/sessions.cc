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

}  // namespace

void capture_session(CaptureContext& context, image::Session& session) {
  const ProcessStatus status = ProcessStatus::of(context.pid);
  const auto own = static_cast<std::uint64_t>(context.own_pid);
  session.set_session_leader(status.numbers("NSsid").back() == own);
  session.set_group_leader(status.numbers("NSpgid").back() == own);
  session.set_controlling_terminal(controlling_terminal_of(context.pid) != 0);
}

void restore_session_inside(NewbornContext& context, const image::Session& session) {
  if (session.controlling_terminal() && !context.options.detach) return;
  if (session.session_leader()) {
    if (::setsid() < 0) fail_errno(errno, "cannot make the program a session leader");
  } else if (session.group_leader()) {
    if (::setpgid(0, 0) != 0) fail_errno(errno, "cannot make the program a process group leader");
  }
}

}  // namespace crs::engine
