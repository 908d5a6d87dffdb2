#include "library/restart.h"

#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/error.h"
#include "service/helper.h"
#include "wire/messages.h"

namespace crs {
namespace {

const char* name_of(Ids ids) noexcept {
  switch (ids) {
    case Ids::Keep:
      return "keep";
    case Ids::Namespace:
      return "namespace";
    case Ids::New:
      return "new";
    case Ids::Automatic:
      break;
  }
  return "auto";
}

std::vector<std::string> command(const RestartRequest& request, const HelperOptions& helper, const std::string& way) {
  if (helper.program.empty()) {
    throw Error(ErrorKind::Failed, "there is no crs that could restart " + request.reference)
        .advise("The parameter crs_helper names the crs to use");
  }
  std::vector<std::string> arguments = helper.arguments;
  arguments.insert(arguments.end(), {"restart", way, "--ids", name_of(request.ids)});
  if (request.changed_files == ChangedFiles::Accept) arguments.insert(arguments.end(), {"--files", "accept"});
  arguments.push_back(request.reference);
  return arguments;
}

// What crs answers to one of its ways that start or check something.
wire::RestartDone ask(const std::vector<std::string>& arguments, const HelperOptions& helper,
                      const std::optional<RestartNews>& news, Streams streams) {
  wire::Connection connection = start_helper(helper.program, arguments, environment_now(news), streams);
  const wire::Received received = connection.receive();
  if (received.kind != wire::Received::Kind::Arrived) {
    fail(ErrorKind::Failed, "{} ended without an answer", helper.program);
  }
  return wire::expect<wire::RestartDone>(received.message);
}

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

RestartedChild restart_as_child(const RestartRequest& request, const HelperOptions& helper,
                                const std::optional<RestartNews>& news) {
  const wire::RestartDone done = ask(command(request, helper, "--detach"), helper, news, Streams::Callers);
  return {done.pid, done.reference, done.component};
}

void check_restart(const RestartRequest& request, const HelperOptions& helper, const std::optional<RestartNews>& news) {
  static_cast<void>(ask(command(request, helper, "--check-only"), helper, news, Streams::Errors));
}

void become_restarted(const RestartRequest& request, const HelperOptions& helper,
                      const std::optional<RestartNews>& news) {
  std::vector<std::string> arguments = command(request, helper, "--replace");
  arguments.insert(arguments.begin(), helper.program);
  std::vector<std::string> environment = environment_now(news);
  const std::vector<char*> argument_pointers = pointers_to(arguments);
  const std::vector<char*> environment_pointers = pointers_to(environment);
  // All other threads end with this call.
  ::execve(helper.program.c_str(), argument_pointers.data(), environment_pointers.data());
  fail_errno(errno, "cannot execute {} to become the program of {}", helper.program, request.reference);
}

}  // namespace crs
