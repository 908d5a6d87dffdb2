#include "engine/resources/attributes/limits.h"

#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "base/error.h"
#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

// How ulimit(1) and limits.conf(5) speak of them.
constexpr std::array<std::string_view, RLIM_NLIMITS> kNames{
    "processor time", "file size",     "data size",          "stack size",
    "core file size", "resident size", "processes",          "open files",
    "locked memory",  "address space", "file locks",         "pending signals",
    "message queues", "nice priority", "real-time priority", "real-time processor time",
};
constexpr std::size_t kNameColumns = 26;  // of /proc/PID/limits

std::uint64_t take_value(std::string_view& rest, std::string_view line) {
  constexpr std::string_view kUnlimited = "unlimited";
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  if (rest.starts_with(kUnlimited)) {
    rest.remove_prefix(kUnlimited.size());
    return RLIM_INFINITY;
  }
  std::uint64_t value = 0;
  const auto [stop, problem] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (problem != std::errc{}) fail(ErrorKind::Failed, "cannot read the limit '{}'", line);
  rest.remove_prefix(static_cast<std::size_t>(stop - rest.data()));
  return value;
}

ResourceLimit parse_limit(std::string_view line) {
  if (line.size() <= kNameColumns) fail(ErrorKind::Failed, "cannot read the limit '{}'", line);
  std::string_view rest = line.substr(kNameColumns);
  ResourceLimit limit;
  limit.soft = take_value(rest, line);
  limit.hard = take_value(rest, line);
  return limit;
}

std::int64_t set_limit(RemoteCaller& remote, std::size_t resource, const ResourceLimit& limit) {
  const RemoteAddress place = remote.put(limit);
  return remote.raw_call(SYS_prlimit64, {0, resource, place.value, 0, 0, 0});
}

// `now` is the newborn's limit, which it has from the caller.
void restore_limit(RestoreContext& context, std::size_t resource, const ResourceLimit& wanted,
                   const ResourceLimit& now) {
  if (wanted == now) return;
  const std::int64_t result = set_limit(context.remote, resource, wanted);
  if (result == 0) return;
  if (result != -EPERM) fail_errno(static_cast<int>(-result), "cannot set the limit of {}", kNames[resource]);
  const ResourceLimit possible{.soft = std::min(wanted.soft, now.hard), .hard = now.hard};
  set_limit(context.remote, resource, possible);
  context.notes.push_back(fmt::format("the hard limit of {} stays at {}: raising it to {} takes CAP_SYS_RESOURCE",
                                      kNames[resource], now.hard,
                                      wanted.hard == RLIM_INFINITY ? "unlimited" : std::to_string(wanted.hard)));
}

}  // namespace

std::vector<ResourceLimit> parse_limits(std::string_view text) {
  std::vector<ResourceLimit> limits;
  text.remove_prefix(std::min(text.size(), text.find('\n') + 1));  // The head of the table.
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    limits.push_back(parse_limit(line));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  if (limits.size() != kNames.size())
    fail(ErrorKind::Failed, "this kernel has {} resource limits instead of {}", limits.size(), kNames.size());
  return limits;
}

std::vector<ResourceLimit> limits_of(pid_t pid) { return parse_limits(read_task_file(pid, "limits")); }

void lift_soft_limits_inside() {
  for (int resource = 0; resource < static_cast<int>(RLIM_NLIMITS); ++resource) {
    rlimit limit{};
    const auto number = static_cast<__rlimit_resource>(resource);
    if (::getrlimit(number, &limit) != 0) continue;
    limit.rlim_cur = limit.rlim_max;
    // Where this fails nothing is lost: what then does not fit says so itself.
    static_cast<void>(::setrlimit(number, &limit));
  }
}

void restore_limits(RestoreContext& context, const google::protobuf::RepeatedPtrField<image::Limit>& limits) {
  const std::vector<ResourceLimit> now = limits_of(context.pid);
  for (std::size_t resource = 0; resource < now.size(); ++resource) {
    const image::Limit& kept = limits[static_cast<int>(resource)];
    ResourceLimit wanted{.soft = kept.soft(), .hard = kept.hard()};
    if (resource == RLIMIT_SIGPENDING)
      wanted = {.soft = std::max(wanted.soft, now[resource].soft), .hard = std::max(wanted.hard, now[resource].hard)};
    restore_limit(context, resource, wanted, now[resource]);
  }
}

void finish_limits(RestoreContext& context, const google::protobuf::RepeatedPtrField<image::Limit>& limits) {
  const ResourceLimit now = limits_of(context.pid)[RLIMIT_SIGPENDING];
  const image::Limit& kept = limits[static_cast<int>(RLIMIT_SIGPENDING)];
  // That it could not be raised has been said.
  restore_limit(
      context, RLIMIT_SIGPENDING,
      {.soft = std::min<std::uint64_t>(kept.soft(), now.hard), .hard = std::min<std::uint64_t>(kept.hard(), now.hard)},
      now);
}

}  // namespace crs::engine
