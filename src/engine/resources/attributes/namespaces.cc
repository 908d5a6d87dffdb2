#include "engine/resources/attributes/namespaces.h"

#include <array>
#include <map>
#include <string>

#include "base/error.h"
#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

struct Kind {
  std::string_view file;  // in /proc/PID/ns
  std::string_view name;  // for people
};

constexpr std::array<Kind, 8> kKinds{{{"user", "user"},
                                      {"pid", "process id"},
                                      {"pid_for_children", "process id (for children)"},
                                      {"mnt", "mount"},
                                      {"net", "network"},
                                      {"ipc", "IPC"},
                                      {"uts", "host name (UTS)"},
                                      {"cgroup", "control group"}}};
// A thread can change to another one of these without its process: setns(2), unshare(2).
constexpr std::array<std::string_view, 5> kOfThreads{"mnt", "net", "ipc", "uts", "cgroup"};

void check_threads(CaptureContext& context, std::string_view file, const std::string& of_process) {
  for (const pid_t tid : context.threads) {
    if (tid == context.pid || namespace_of(tid, file) == of_process) continue;
    context.refusals.add(
        fmt::format("thread {} of process {} is in another {} namespace than its process", tid, context.pid, file),
        "take the checkpoint before the program calls unshare(2) or setns(2)");
  }
}

}  // namespace

void check_namespaces(CaptureContext& context, const std::function<bool(std::string_view kind)>& made_by_restart) {
  Surroundings& here = *context.surroundings;
  std::map<std::string_view, std::string> of_process;
  for (const Kind& kind : kKinds) {
    const std::string_view base = kind.file.substr(0, kind.file.find('_'));
    const std::string& found = of_process[kind.file] = namespace_of(context.pid, kind.file);
    if (base != kind.file) {  // the children's: a restart makes it the process's own
      if (found == of_process[base]) continue;
      context.refusals.add(
          fmt::format("process {} is in another {} namespace than it is itself", context.pid, kind.name),
          "take the checkpoint before the program calls unshare(2) or setns(2)");
      continue;
    }
    if (found == here.own_namespace(kind.file) || (made_by_restart && made_by_restart(base))) continue;
    context.refusals.add(fmt::format("process {} is in another {} namespace than crs", context.pid, kind.name),
                         "run crs inside the same container");
  }
  for (const std::string_view file : kOfThreads) check_threads(context, file, of_process[file]);
}

}  // namespace crs::engine
