#include "cli/examination.h"

#include <fmt/format.h>

#include "base/error.h"
#include "cli/format.h"
#include "cli/service_request.h"
#include "cli/verb.h"
#include "wire/request_socket.h"

namespace crs::cli {
namespace {

// Since when a component may be asked for it.
constexpr int kFirstWithExamination = 4;

constexpr const char* kOfLayers =
    "the program has a service, whose layers were not asked: they may close and open again what stands in the way, or "
    "say that they cannot";

Selection select(Context& context) {
  Selection selection = select_for_others(context);
  if (selection.status().interface_version.minor < kFirstWithExamination)
    fail(ErrorKind::Failed, "component {} cannot tell beforehand what it would refuse", selection.name());
  return selection;
}

void print(Context& context, const Target& target, const Examination& found) {
  for (const std::string& warning : found.warnings) context.say("warning: " + warning);
  if (context.options.json) {
    context.print_json(Json{{"possible", true},
                            {"process", target.pid},
                            {"job", target.job},
                            {"processes", found.processes},
                            {"threads", found.threads},
                            {"pause_seconds", static_cast<double>(found.pause_nanoseconds) / 1e9},
                            {"warnings", found.warnings}});
    return;
  }
  context.print(fmt::format("process {} can be checkpointed: {} {}, {} {}\n", target.pid, found.processes,
                            found.processes == 1 ? "process" : "processes", found.threads,
                            found.threads == 1 ? "thread" : "threads"));
  context.say(
      fmt::format("nothing was written; the program was paused for {}", human_seconds(found.pause_nanoseconds)));
}

}  // namespace

Selection select_for_others(Context& context) {
  Selection selection = context.components().select();
  if (selection.status().capabilities.other_processes) return selection;
  throw Error(ErrorKind::Failed, fmt::format("component {} cannot checkpoint another process", selection.name()))
      .advise("'crs components' lists those that can");
}

int examine_program(Context& context, const Target& target, CheckpointOptions options) {
  const Selection selection = select(context);
  options.remembered_path = context.store().path_if_remembered(target.job);  // no directory is made for a look
  const bool has_layers = wire::listens_for_requests(target.pid);
  Examination found = selection.module().examine(target.pid, options);
  for (std::string& warning : services_below(target.pid)) found.warnings.push_back(std::move(warning));
  if (has_layers) found.warnings.emplace_back(kOfLayers);
  print(context, target, found);
  return kDone;
}

}  // namespace crs::cli
