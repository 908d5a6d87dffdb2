#include "engine/resources/descriptors/outsiders.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/procfs/tree.h"

namespace crs::engine {
namespace {

std::optional<pid_t> process_id(std::string_view name) {
  pid_t id = 0;
  const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), id);
  if (problem != std::errc() || end != name.data() + name.size() || id <= 0) return std::nullopt;
  return id;
}

bool is_one_of(std::span<const CapturedProcess> members, pid_t pid) {
  return std::ranges::any_of(members, [&](const CapturedProcess& member) {
    return member.pid == pid || std::ranges::find(member.threads, pid) != member.threads.end();
  });
}

bool is_concerned_outsider(std::span<const CapturedProcess> members, pid_t pid,
                           const std::function<bool(pid_t)>& concerns) {
  constexpr int kParentField = 4;  // of /proc/PID/stat
  try {
    return concerns(pid) && !is_zombie(pid) && !is_helper_of_crs(pid) &&
           !is_one_of(members, static_cast<pid_t>(stat_number(pid, kParentField)));
  } catch (const Error&) {  // it has ended, or may not be looked at
    return false;
  }
}

}  // namespace

std::vector<pid_t> find_outsiders(std::span<const CapturedProcess> members,
                                  const std::function<bool(pid_t)>& concerns) {
  std::vector<pid_t> found;
  std::error_code problem;
  std::filesystem::directory_iterator entries("/proc", problem);
  for (; !problem && entries != std::filesystem::directory_iterator(); entries.increment(problem)) {
    const std::optional<pid_t> pid = process_id(entries->path().filename().native());
    const bool is_other = pid && *pid != ::getpid() && !is_one_of(members, *pid);
    if (is_other && is_concerned_outsider(members, *pid, concerns)) found.push_back(*pid);
  }
  if (problem) fail_errno(problem.value(), "cannot look at the processes in /proc");
  return found;
}

void for_each_open_link(pid_t pid, const std::function<void(const char* link)>& look) {
  std::error_code unseen;
  std::filesystem::directory_iterator links(fmt::format("/proc/{}/fd", pid), unseen);
  for (; !unseen && links != std::filesystem::directory_iterator(); links.increment(unseen))
    look(links->path().c_str());
}

}  // namespace crs::engine
