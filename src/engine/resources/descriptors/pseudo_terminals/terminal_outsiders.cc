#include "engine/resources/descriptors/pseudo_terminals/terminal_outsiders.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "engine/procfs/tree.h"
#include "engine/resources/descriptors/outsiders.h"
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
std::optional<unsigned> number_of_link(const char* link, const std::set<unsigned>& terminals) {
  std::string target(64, '\0');
  const ssize_t length = ::readlink(link, target.data(), target.size());
  if (length <= 0 || target.front() != '/') return std::nullopt;
  target.resize(static_cast<std::size_t>(length));
  const std::optional<int> number = number_in(std::string_view(target).substr(target.rfind('/') + 1));
  if (!number || !terminals.contains(static_cast<unsigned>(*number))) return std::nullopt;
  struct stat own{};
  struct stat its{};
  const bool is_same = ::stat(fmt::format("/dev/pts/{}", *number).c_str(), &own) == 0 && ::stat(link, &its) == 0 &&
                       own.st_dev == its.st_dev && own.st_ino == its.st_ino;
  return is_same ? std::optional(static_cast<unsigned>(*number)) : std::nullopt;
}

std::set<unsigned> terminals_of(pid_t pid, const std::set<unsigned>& terminals) {
  std::set<unsigned> found;
  const dev_t controlling = decoded_device(static_cast<unsigned>(stat_number(pid, kTerminalField)));
  if (major(controlling) == kTerminalMajor && terminals.contains(minor(controlling))) found.insert(minor(controlling));
  for_each_open_link(pid, [&](const char* link) {
    if (const std::optional<unsigned> number = number_of_link(link, terminals)) found.insert(*number);
  });
  return found;
}

}  // namespace

std::map<unsigned, pid_t> find_terminal_outsiders(std::span<const CapturedProcess> members,
                                                  const std::set<unsigned>& terminals) {
  std::map<pid_t, std::set<unsigned>> seen;
  const auto has_any = [&](pid_t pid) { return !(seen[pid] = terminals_of(pid, terminals)).empty(); };
  std::map<unsigned, pid_t> found;
  for (const pid_t pid : find_outsiders(members, has_any)) {
    for (const unsigned number : seen[pid]) found.emplace(number, pid);
  }
  return found;
}

}  // namespace crs::engine
