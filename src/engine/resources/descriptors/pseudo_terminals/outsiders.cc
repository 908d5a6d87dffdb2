#include "engine/resources/descriptors/pseudo_terminals/outsiders.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/tree.h"

namespace crs::engine {
namespace {

constexpr unsigned kPseudoTerminalMajor = 136;  // the kernel's admin-guide/devices.txt

std::optional<int> number_in(std::string_view text) {
  int number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

struct Outsider {
  char state = 'X';
  pid_t parent = 0;
  unsigned terminal = 0;  // tty_nr of proc_pid_stat(5)
};

// Counted from behind the name, which may have blanks. One that has ended counts as ended.
Outsider outsider_of(pid_t pid) {
  Outsider outsider;
  try {
    const std::string text = read_file(fmt::format("/proc/{}/stat", pid));
    std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 2)));
    long group = 0;
    long session = 0;
    long terminal = 0;
    fields >> outsider.state >> outsider.parent >> group >> session >> terminal;
    outsider.terminal = static_cast<unsigned>(terminal);
  } catch (const Error&) {
    outsider.state = 'X';
  }
  return outsider;
}

// As /proc/PID/stat encodes it.
std::optional<unsigned> number_of_device(unsigned encoded) {
  if (((encoded >> 8U) & 0xfffU) != kPseudoTerminalMajor) return std::nullopt;
  return (encoded & 0xffU) | ((encoded >> 12U) & 0xfff00U);
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

std::set<unsigned> terminals_of(pid_t pid, unsigned controlling_device, const std::set<unsigned>& terminals) {
  std::set<unsigned> found;
  const std::optional<unsigned> controlling = number_of_device(controlling_device);
  if (controlling && terminals.contains(*controlling)) found.insert(*controlling);
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
  const Outsider outsider = outsider_of(pid);
  if (outsider.state == 'Z' || outsider.state == 'X' || is_member(members, outsider.parent)) return;
  const std::set<unsigned> its = terminals_of(pid, outsider.terminal, terminals);
  if (its.empty() || is_helper_of_crs(pid)) return;
  for (const unsigned number : its) found.emplace(number, pid);
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
