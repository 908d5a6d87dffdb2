#include "engine/resources/descriptors/pseudo_terminals/outsiders.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/procfs/tree.h"
#include "engine/resources/descriptors/pseudo_terminals/terminal_device.h"

namespace crs::engine {
namespace {

std::optional<int> number_in(std::string_view text) {
  int number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

// Links to a terminal end with its number, wherever its file system is mounted.
std::optional<unsigned> number_of_link(const std::filesystem::path& link, const std::set<unsigned>& terminals) {
  std::string target(64, '\0');
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  if (length <= 0 || target.front() != '/') return std::nullopt;
  target.resize(static_cast<std::size_t>(length));
  const std::optional<int> number = number_in(std::string_view(target).substr(target.rfind('/') + 1));
  if (!number || !terminals.contains(static_cast<unsigned>(*number))) return std::nullopt;
  struct stat own{};
  struct stat its{};
  const bool is_same = ::stat(fmt::format("/dev/pts/{}", *number).c_str(), &own) == 0 &&
                       ::stat(link.c_str(), &its) == 0 && own.st_dev == its.st_dev && own.st_ino == its.st_ino;
  return is_same ? std::optional(static_cast<unsigned>(*number)) : std::nullopt;
}

bool is_member(std::span<const CapturedProcess> members, pid_t pid) {
  return std::ranges::any_of(members, [&](const CapturedProcess& member) {
    return member.pid == pid || std::ranges::find(member.threads, pid) != member.threads.end();
  });
}

std::set<unsigned> terminals_of(pid_t pid, const std::set<unsigned>& terminals) {
  std::set<unsigned> found;
  const dev_t controlling = decoded_device(static_cast<unsigned>(stat_number(pid, kTerminalField)));
  if (major(controlling) == kTerminalMajor && terminals.contains(minor(controlling))) found.insert(minor(controlling));
  std::error_code unseen;
  std::filesystem::directory_iterator links(fmt::format("/proc/{}/fd", pid), unseen);
  for (; !unseen && links != std::filesystem::directory_iterator(); links.increment(unseen)) {
    if (const std::optional<unsigned> number = number_of_link(links->path(), terminals)) found.insert(*number);
  }
  return found;
}

// What crs has made is none that reads: its helpers, and, as children of the program, what it borrows memory by
// (tracee/memory_sharer.h).
void look_at_process(std::span<const CapturedProcess> members, pid_t pid, const std::set<unsigned>& terminals,
                     std::map<unsigned, pid_t>& found) {
  constexpr int kParentField = 4;  // of /proc/PID/stat
  try {
    const std::set<unsigned> its = terminals_of(pid, terminals);
    if (its.empty() || is_zombie(pid) || is_helper_of_crs(pid)) return;
    if (is_member(members, static_cast<pid_t>(stat_number(pid, kParentField)))) return;
    for (const unsigned number : its) found.emplace(number, pid);
  } catch (const Error&) {  // it has ended, or may not be looked at
  }
}

}  // namespace

std::map<unsigned, pid_t> find_outsiders(std::span<const CapturedProcess> members,
                                         const std::set<unsigned>& terminals) {
  std::map<unsigned, pid_t> found;
  std::error_code problem;
  std::filesystem::directory_iterator entries("/proc", problem);
  for (; !problem && entries != std::filesystem::directory_iterator(); entries.increment(problem)) {
    const std::optional<int> pid = number_in(entries->path().filename().native());
    if (pid && *pid != ::getpid() && !is_member(members, *pid)) look_at_process(members, *pid, terminals, found);
  }
  if (problem) fail_errno(problem.value(), "cannot look at the processes in /proc");
  return found;
}

}  // namespace crs::engine
