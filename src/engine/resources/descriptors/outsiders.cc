#include "engine/resources/descriptors/outsiders.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
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
  } catch (const Error& error) {  // it has ended, or may not be looked at; else this process lacks something
    if (error.error_number() == EMFILE || error.error_number() == ENFILE || error.error_number() == ENOMEM) throw;
    return false;
  }
}

// Whether this user may see them.
bool look_at_links(const std::string& directory, const std::function<void(const char* link)>& look) {
  std::error_code problem;
  std::filesystem::directory_iterator links(directory, problem);
  for (; !problem && links != std::filesystem::directory_iterator(); links.increment(problem))
    look(links->path().c_str());
  if (problem.value() == EACCES || problem.value() == EPERM) return false;
  if (problem && problem.value() != ENOENT && problem.value() != ESRCH)
    fail_errno(problem.value(), "cannot look at {}", directory);
  return true;
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

bool for_each_open_link(pid_t pid, const std::function<void(const char* link)>& look) {
  bool has_any = false;
  bool may_see = look_at_links(fmt::format("/proc/{}/fd", pid), [&](const char* link) {
    has_any = true;
    look(link);
  });
  if (has_any) return true;
  // Where the main thread has ended, the folder is empty, and root's.
  std::error_code ended;
  std::filesystem::directory_iterator threads(fmt::format("/proc/{}/task", pid), ended);
  for (; !ended && threads != std::filesystem::directory_iterator(); threads.increment(ended))
    may_see = look_at_links((threads->path() / "fd").native(), look) || may_see;
  return may_see;
}

}  // namespace crs::engine
