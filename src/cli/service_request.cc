#include "cli/service_request.h"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/tree.h"
#include "wire/request_socket.h"

namespace crs::cli {
namespace {

using Clock = std::chrono::steady_clock;

// A program answers at once, unless it is stopped or has no processor.
constexpr std::chrono::seconds kFirstAnswer{10};
// After the program's own limit has passed.
constexpr std::chrono::seconds kGrace{10};
// A stage that takes longer is shown.
constexpr std::chrono::seconds kPatience{1};

// A variable of another process, as it was started.
std::string variable_of(pid_t pid, std::string_view name) {
  try {
    std::string_view rest;
    const std::string block = read_file(fmt::format("/proc/{}/environ", pid), std::size_t{1} << 22);
    for (rest = block; !rest.empty(); rest.remove_prefix(std::min(rest.find('\0') + 1, rest.size()))) {
      const std::string_view entry = rest.substr(0, rest.find('\0'));
      if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=') {
        return std::string(entry.substr(name.size() + 1));
      }
      if (rest.find('\0') == std::string_view::npos) break;
    }
  } catch (const Error&) {  // it is another's, or has ended
  }
  return "";
}

std::vector<std::string> directories_for(const Context& context, pid_t pid, uid_t user) {
  std::vector<std::string> directories;
  const auto add = [&](const std::string& runtime_directory) {
    for (std::string& path : wire::request_directories(runtime_directory, user)) {
      if (std::ranges::find(directories, path) == directories.end()) directories.push_back(std::move(path));
    }
  };
  add(variable_of(pid, "XDG_RUNTIME_DIR"));
  const auto own = context.environment().find("XDG_RUNTIME_DIR");
  if (own != context.environment().end()) add(own->second);
  add(fmt::format("/run/user/{}", user));
  return directories;
}

}  // namespace

std::optional<wire::Connection> connect_to_service(Context& context, pid_t pid) {
  struct stat status{};
  if (::stat(fmt::format("/proc/{}", pid).c_str(), &status) != 0)
    fail(ErrorKind::NotFound, "there is no process {}", pid);
  const std::vector<std::string> directories = directories_for(context, pid, status.st_uid);
  std::vector<std::string> problems;
  auto connection = wire::connect_to_service(pid, status.st_uid, directories,
                                             [&](const std::string& problem) { problems.push_back(problem); });
  if (connection || !wire::listens_for_requests(pid)) return connection;
  // Its layers count on being told.
  for (const std::string& problem : problems) context.say("warning: " + problem);
  throw Error(ErrorKind::Failed,
              fmt::format("process {} listens for requests (libcrs), and nobody can reach it there", pid))
      .advise(fmt::format("Its socket belongs into {}, mode 700; one with an abstract name is reached from its own "
                          "network namespace alone (nsenter -t {} -n)",
                          fmt::join(directories, " or "), pid));
}

std::vector<std::string> services_below(pid_t root) {
  std::vector<std::string> warnings;
  const auto has_service = [](pid_t pid) {
    try {
      return wire::listens_for_requests(pid);
    } catch (const Error&) {
      return false;  // it ended just now
    }
  };
  for (const engine::TreeProcess& process : engine::tree_of(root)) {
    if (process.pid == root || !has_service(process.pid)) continue;
    warnings.push_back(
        fmt::format("process {} has a service whose layers are not told, since it is not the program's first process; "
                    "'crs checkpoint {}' tells them, and takes that process and its descendants, unless it was "
                    "restarted as a part of the program: then nobody can reach its service any more",
                    process.pid, process.pid));
  }
  return warnings;
}

ServiceRequest::ServiceRequest(Context& context, wire::Connection& connection, const Target& target,
                               std::string component, wire::Request request, Storing storing, TcpPolicy tcp)
    : context_(context),
      connection_(connection),
      target_(target),
      component_(std::move(component)),
      request_(std::move(request)),
      taker_(context, connection,
             {.pid = target.pid,
              .job = target.has_made_up_job ? "" : target.job,
              .wait_limit = std::chrono::duration_cast<std::chrono::milliseconds>(request_.time_limit),
              .end_limit = request_.time_limit,
              .tcp = tcp,
              .progress = [this](const std::string& line) { context_.say(line); },
              .storing = std::move(storing)}),
      give_up_(Clock::now() + kFirstAnswer) {}

void ServiceRequest::run() {
  send_request();
  while (!is_over()) {
    const wire::Received received = connection_.receive(std::min(give_up_, Clock::now() + kPatience));
    if (received.kind == wire::Received::Kind::End) return end_of_connection();
    if (received.kind == wire::Received::Kind::Arrived) {
      take(received.message);
      // However much a program has to say, it has no longer than one that says nothing.
      if (is_over() || Clock::now() < give_up_) continue;
    }
    if (!wait_on()) return;
  }
  if (taker_.writer() == nullptr) {
    throw Error(ErrorKind::Failed, fmt::format("the program's component stored no snapshot of process {}", target_.pid))
        .advise("The program's parameter crs chooses the component");
  }
}

// A program that serves nobody more, or not this user, may have said so and closed the connection before.
void ServiceRequest::send_request() {
  try {
    connection_.send(wire::to_message(request_));
  } catch (const Error&) {
    const wire::Received received = connection_.receive(Clock::now());
    if (received.kind == wire::Received::Kind::Arrived) take(received.message);
    throw;
  }
}

bool ServiceRequest::is_over() const {
  // A stopped program says nothing more.
  const bool is_stopped = taker_.committed() && taker_.pictures() && request_.after == AfterCheckpoint::Stop;
  return taker_.layers() || is_stopped;
}

void ServiceRequest::take(const wire::Message& message) {
  if (!std::exchange(answered_, true)) give_up_ = Clock::now() + request_.time_limit * 2 + kGrace;
  if (wire::is<wire::Failure>(message)) throw wire::from<wire::Failure>(message).error;
  if (wire::is<wire::Progressed>(message)) return note(wire::from<wire::Progressed>(message).progress);
  if (wire::is<wire::Begin>(message) && !component_.empty()) {
    const std::string theirs = wire::from<wire::Begin>(message).component;
    if (theirs != component_) {
      throw Error(ErrorKind::Failed,
                  fmt::format("process {} uses component {}, not {}", target_.pid, theirs, component_))
          .advise("The program's own parameter crs chooses its component");
    }
  }
  const bool was_committed = taker_.committed();
  taker_.handle(message);
  if (taker_.committed() && !was_committed) give_up_ = Clock::now() + request_.time_limit + kGrace;
  if (taker_.layers()) tell_failures();
}

void ServiceRequest::tell_failures() {
  for (const std::string& failure : taker_.layers()->failures) {
    const bool ends = request_.after == AfterCheckpoint::Kill;
    context_.say(fmt::format("warning: {}: {}",
                             ends ? "at the program's end" : "the program goes on, but not as it did", failure));
    failures_.push_back(failure);
  }
}

void ServiceRequest::note(const Progress& progress) {
  switch (progress.stage) {
    case Progress::Stage::Delayed:
      stage_.clear();
      return context_.say(progress.text);
    case Progress::Stage::Quiescing:
      stage_ = fmt::format("waiting for layer '{}' to get ready", progress.text);
      break;
    case Progress::Stage::Accepted:
      stage_ = "waiting for another checkpoint of this program";
      break;
    default:
      stage_.clear();
  }
  const std::string stage = name_of(progress.stage);
  context_.say_more(progress.text.empty() ? stage : fmt::format("{} {}", stage, progress.text));
}

bool ServiceRequest::wait_on() {
  if (Clock::now() < give_up_) {
    if (!stage_.empty()) context_.say(std::exchange(stage_, {}));
    return true;
  }
  if (taker_.committed()) {
    give_layers_up("the program's layers have not gone on within the time limit");
    return false;
  }
  Error error(ErrorKind::Failed, fmt::format("the service of process {} does not answer", target_.pid));
  throw error.advise(answered_ ? "Try again later or with a longer --timeout"
                               : "If the program is stopped, continue it first (kill -CONT)");
}

void ServiceRequest::give_layers_up(const std::string& why) {
  if (request_.after != AfterCheckpoint::Kill || taker_.pictures()) {
    taker_.note_unheard(why);
    return fail_with(why);
  }
  // Nobody else ends a program whose component works inside it.
  taker_.end_unheard(why);
  tell_failures();
}

void ServiceRequest::fail_with(std::string failure) {
  context_.say("warning: " + failure);
  failures_.push_back(std::move(failure));
}

void ServiceRequest::end_of_connection() {
  if (taker_.committed()) return give_layers_up("the program ended before its layers had gone on");
  fail(ErrorKind::ProgramGone, "process {} ended, or gave the checkpoint up", target_.pid);
}

std::vector<LayerTime> ServiceRequest::layers() const {
  return taker_.layers() ? taker_.layers()->times : std::vector<LayerTime>{};
}

}  // namespace crs::cli
