#include "engine/resources/descriptors/pseudo_terminals/pseudo_terminals.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/error.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"
#include "engine/resources/descriptors/pseudo_terminals/queues.h"
#include "engine/resources/descriptors/pseudo_terminals/terminal_device.h"
#include "engine/resources/descriptors/pseudo_terminals/terminal_outsiders.h"
#include "engine/resources/descriptors/terminals/terminals.h"
#include "engine/tracee/serialised.h"

namespace crs::engine {
namespace {

// The kernel's admin-guide/devices.txt.
const dev_t kMasterDevice = makedev(5, 2);
const dev_t kControllingTerminal = makedev(5, 0);
constexpr unsigned kMostTerminals = 1U << 20U;

std::string path_of(unsigned number) { return fmt::format("/dev/pts/{}", number); }

template <typename T>
std::optional<T> asked(int descriptor, unsigned long request) {
  T value{};
  if (::ioctl(descriptor, request, &value) != 0) return std::nullopt;
  return value;
}

bool is_master(const Seen& seen) {
  return S_ISCHR(seen.status.st_mode) && !seen.is_path_only() && seen.status.st_rdev == kMasterDevice;
}

// The number of the pseudo-terminal of which `seen` is an end.
std::optional<unsigned> number_of(const Seen& seen) {
  if (!S_ISCHR(seen.status.st_mode) || seen.is_path_only()) return std::nullopt;
  if (is_master(seen)) return asked<unsigned>(seen.copy.get(), TIOCGPTN);
  dev_t device = seen.status.st_rdev;
  if (device == kControllingTerminal) {
    const auto encoded = asked<unsigned>(seen.copy.get(), TIOCGDEV);
    if (!encoded) return std::nullopt;
    device = decoded_device(*encoded);  // what /dev/tty stands for
  } else {
    // There may be several file systems with a terminal of that number.
    struct stat node{};
    const bool same = ::stat(path_of(minor(device)).c_str(), &node) == 0 && node.st_dev == seen.status.st_dev;
    if (!same) return std::nullopt;
  }
  return major(device) == kTerminalMajor ? std::optional(minor(device)) : std::nullopt;
}

short events_of(int descriptor) {
  pollfd entry{descriptor, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1 ? entry.revents : short{0};
}

bool has_unread(int descriptor) {
  return (events_of(descriptor) & POLLIN) != 0 || asked<int>(descriptor, FIONREAD).value_or(0) > 0;
}

// A terminal whose master is open. It could not be used any more, but be opened anew.
bool is_hung_up(const Seen& terminal) { return (events_of(terminal.copy.get()) & POLLHUP) != 0; }
bool is_closed(const Seen& master) { return (events_of(master.copy.get()) & POLLHUP) != 0; }
bool is_exclusive(const Seen& end) { return asked<int>(end.copy.get(), TIOCGEXCL).value_or(0) != 0; }
bool is_locked(const Seen& master) { return asked<int>(master.copy.get(), TIOCGPTLCK).value_or(0) != 0; }

// A description of this process's own for the terminal, or none.
FileDescriptor open_terminal_of(int master) {
  return FileDescriptor(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
}

// Why nothing may be taken from it and put back, as far as its descriptions tell, or "".
std::string obstacle_of(const TableCapture& table, unsigned number, const Seen& master) {
  if (!master.reads() || !master.writes()) return "its master is not open for both";
  const bool tells_owner = std::ranges::any_of(
      table.seen, [&](const Seen& seen) { return (seen.flags & O_ASYNC) != 0 && number_of(seen) == number; });
  return tells_owner ? "somebody would get a signal for it (O_ASYNC)" : "";
}

void capture_node(unsigned number, image::PseudoTerminal& terminal) {
  struct stat node{};
  if (::stat(path_of(number).c_str(), &node) != 0) fail_errno(errno, "cannot look at {}", path_of(number));
  terminal.set_mode(node.st_mode & 07777);
  terminal.set_owner(node.st_uid);
  terminal.set_group(node.st_gid);
}

// The session that it controls; its leader is one of the tree, or somebody outside has it.
void capture_session_of(const TableCapture& table, const Seen& master, image::PseudoTerminal& terminal) {
  const dev_t own = makedev(kTerminalMajor, terminal.number());
  const pid_t foreground = asked<pid_t>(master.copy.get(), TIOCGPGRP).value_or(0);
  for (std::uint32_t index = 0; index < table.processes.size(); ++index) {
    const CapturedProcess& process = table.processes[index];
    if (decoded_device(static_cast<unsigned>(stat_number(process.pid, kTerminalField))) != own) continue;
    const ProcessStatus status = ProcessStatus::of(process.pid);
    if (static_cast<pid_t>(status.numbers("NSsid").back()) == process.own_pid) {
      terminal.set_is_controlling(true);
      terminal.set_leader(index);
    }
    if (foreground > 0 && ::getpgid(process.pid) == foreground)
      terminal.set_foreground_group(static_cast<int>(status.numbers("NSpgid").back()));
  }
  if (!terminal.is_controlling() || foreground <= 0 || terminal.foreground_group() != 0) return;
  table.context.warnings.push_back(
      fmt::format("group {}, which is in the foreground of {}, has no process in the snapshot: at a restart the group "
                  "of the session's leader is in the foreground",
                  foreground, path_of(terminal.number())));
}

// A new one, with this number if that is free. The kernel gives the lowest number that is.
FileDescriptor open_master(unsigned wanted) {
  constexpr std::size_t kMostTries = 1024;
  std::vector<FileDescriptor> others;
  while (true) {
    FileDescriptor master(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!master) fail_errno(errno, "cannot make a pseudo-terminal");
    const unsigned number = asked<unsigned>(master.get(), TIOCGPTN).value_or(0);
    if (number == wanted || number > wanted || others.size() == kMostTries) return master;
    others.push_back(std::move(master));
  }
}

std::string new_path(int master) {
  const auto number = asked<unsigned>(master, TIOCGPTN);
  if (!number) fail_errno(errno, "cannot ask a pseudo-terminal for its number");
  return path_of(*number);
}

void set_up(int master, const image::PseudoTerminal& terminal) {
  constexpr int kUnlocked = 0;
  termios2 settings{};
  std::memcpy(&settings, terminal.state().settings().data(), sizeof settings);
  const winsize size = size_of(terminal.state());
  const bool done = ::ioctl(master, TIOCSPTLCK, &kUnlocked) == 0 && ::ioctl(master, TCSETS2, &settings) == 0 &&
                    ::ioctl(master, TIOCSWINSZ, &size) == 0;
  if (!done) fail_errno(errno, "cannot set up a pseudo-terminal");
  const std::string path = new_path(master);
  if (terminal.closed()) open_again(path, O_RDWR);
  struct stat node{};
  if (::stat(path.c_str(), &node) != 0) fail_errno(errno, "cannot look at {}", path);
  if (node.st_uid != terminal.owner() || node.st_gid != terminal.group())
    static_cast<void>(::chown(path.c_str(), terminal.owner(), terminal.group()));
  if ((node.st_mode & 07777) != terminal.mode()) static_cast<void>(::chmod(path.c_str(), terminal.mode()));
}

void complete_terminal(int master, const image::PseudoTerminal& terminal) {
  const FileDescriptor own = open_terminal_of(master);
  if (!own) fail_errno(errno, "cannot open a pseudo-terminal");
  if (terminal.has_queues()) fill_queues({master, own.get()}, terminal.queues());
  if (terminal.exclusive() && ::ioctl(own.get(), TIOCEXCL) != 0)
    fail_errno(errno, "cannot keep others from opening a pseudo-terminal");
}

}  // namespace

// Before any of them is opened: a terminal that is closed afterwards counts as one that has been open.
void PseudoTerminalKind::survey(const TableCapture& table) {
  if (ends_) return;
  ends_.emplace();
  for (const Seen& seen : table.seen) {
    const std::optional<unsigned> number = number_of(seen);
    if (!number) continue;
    Ends& ends = (*ends_)[*number];
    if (is_master(seen)) {
      ends.master = &seen;
    } else if (is_hung_up(seen)) {
      ends.hung_up = true;
    } else {
      ends.terminal = &seen;
    }
  }
  for (auto& [number, ends] : *ends_) {
    if (ends.master == nullptr) continue;
    ends.closed = is_closed(*ends.master);
    ends.locked = is_locked(*ends.master);
  }
}

// Of a master alone: nobody can have the terminal where that has been closed or could not be opened yet.
bool PseudoTerminalKind::recognises(const TableCapture& table, const Seen& seen) {
  const std::optional<unsigned> number = number_of(seen);
  if (!number) return false;
  survey(table);
  return (*ends_)[*number].is_inside();
}

void PseudoTerminalKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  if (!is_master(seen) && is_hung_up(seen))
    table.refuse(seen, "an end of a pseudo-terminal that has been hung up (vhangup(2))");
  const unsigned number = number_of(seen).value();
  const auto [known, is_new] = captured_.try_emplace(number, static_cast<std::uint32_t>(table.image.terminals_size()));
  description.mutable_pseudo_terminal_end()->set_terminal(known->second);
  description.mutable_pseudo_terminal_end()->set_master(is_master(seen));
  if (!is_new) return;
  const Ends& ends = (*ends_)[number];
  const int master = ends.master->copy.get();
  image::PseudoTerminal& terminal = *table.image.add_terminals();
  terminal.set_number(number);
  *terminal.mutable_state() = look_at_terminal(master, table.name_of(*ends.master));
  terminal.set_locked(ends.locked);
  terminal.set_packet_mode(asked<int>(master, TIOCGPKT).value_or(0) != 0);
  terminal.set_master_exclusive(is_exclusive(*ends.master));
  terminal.set_exclusive(ends.terminal != nullptr && is_exclusive(*ends.terminal));
  terminal.set_closed(ends.terminal == nullptr && ends.closed);
  capture_node(number, terminal);
  capture_session_of(table, *ends.master, terminal);
  capture_unread(table, terminal);
}

// Without opening any.
void PseudoTerminalKind::look_for_unread(const TableCapture& table) {
  for (const auto& [number, ends] : *ends_) {
    if (!ends.is_inside()) continue;
    Unread unread;
    unread.output = has_unread(ends.master->copy.get());
    unread.input = ends.terminal != nullptr && has_unread(ends.terminal->copy.get());
    const bool may_be_begun = ends.terminal != nullptr && may_have_begun_line(ends.master->copy.get());
    if (!unread.output && !unread.input && !may_be_begun) continue;
    unread.obstacle = ends.hung_up ? "it has been hung up" : obstacle_of(table, number, *ends.master);
    const bool has_been_open = ends.terminal != nullptr || ends.closed;
    if (unread.obstacle.empty() && !has_been_open) unread.obstacle = "nobody has opened the terminal yet";
    unread_->emplace(number, std::move(unread));
  }
}

// Who waits for a line there would see an end of file where a line that has been begun is taken out.
void PseudoTerminalKind::spare_outsiders(const TableCapture& table) {
  std::set<unsigned> numbers;
  for (const auto& [number, unread] : *unread_) {
    if (unread.obstacle.empty()) numbers.insert(number);
  }
  if (numbers.empty()) return;
  for (const auto& [number, pid] : find_terminal_outsiders(table.processes, numbers))
    unread_->at(number).obstacle = fmt::format("process {}, which is not in the snapshot, has it open, too", pid);
}

// Of all of them at once. A line that has been begun shows only when it is taken, and only where it can be.
void PseudoTerminalKind::copy_unread(const TableCapture& table) {
  unread_.emplace();
  look_for_unread(table);
  spare_outsiders(table);
  std::vector<TerminalEnds> copied;
  std::vector<Unread*> places;
  std::vector<FileDescriptor> opened;  // for no longer than this: a terminal that is closed counts as such
  for (auto& [number, unread] : *unread_) {
    if (!unread.obstacle.empty()) continue;
    const int master = ends_->at(number).master->copy.get();
    const TerminalEnds both{master, opened.emplace_back(open_terminal_of(master)).get()};
    unread.obstacle = obstacle_to_copying(both);
    if (!unread.obstacle.empty()) continue;
    copied.push_back(both);
    places.push_back(&unread);
  }
  if (!copied.empty()) copy_from(copied, places);
}

void PseudoTerminalKind::copy_from(std::span<const TerminalEnds> ends, std::span<Unread* const> places) {
  try {
    const std::vector<Outcome> outcomes = each_done_to_the_end(
        ends.size(), [&](std::size_t i) { return serialised(copy_queues(ends[i]), "what waits there"); });
    for (std::size_t i = 0; i < outcomes.size(); ++i) places[i]->take(outcomes[i]);
  } catch (const Error& error) {
    for (Unread* const place : places) {
      place->obstacle = error.what();
      place->disturbed = error.kind() != ErrorKind::Refused;
    }
  }
}

void PseudoTerminalKind::Unread::take(const Outcome& outcome) {
  if (!outcome.problem && queues.ParseFromString(outcome.result)) return;
  obstacle = outcome.problem ? outcome.problem->what() : "what waits there cannot be understood";
  disturbed = true;
}

void PseudoTerminalKind::capture_unread(TableCapture& table, image::PseudoTerminal& terminal) {
  if (!unread_) copy_unread(table);
  const auto found = unread_->find(terminal.number());
  if (found == unread_->end()) return;
  const Unread& unread = found->second;
  if (unread.obstacle.empty()) {
    *terminal.mutable_queues() = unread.queues;
    return;
  }
  const Ends& ends = ends_->at(terminal.number());
  const auto refuse = [&](const Seen& end, std::string_view what) {
    table.refuse(end, fmt::format("{} that has not been read, which only taking it shows; it cannot be put back: {}",
                                  what, unread.obstacle));
  };
  const Seen& reading = ends.terminal != nullptr ? *ends.terminal : *ends.master;
  if (unread.output) refuse(*ends.master, "the master of a pseudo-terminal with output");
  if (unread.input || (unread.disturbed && !unread.output)) refuse(reading, "an end of a pseudo-terminal with input");
  if (unread.output || unread.input || unread.disturbed) return;
  table.context.warnings.push_back(fmt::format(
      "{} is an end of {}: what may have been typed there of a line that is not complete is lost at a restart: {}",
      table.name_of(reading), path_of(terminal.number()), unread.obstacle));
}

void PseudoTerminalKind::check(TableCheck& table, const Description& description) {
  const std::uint32_t index = description.pseudo_terminal_end().terminal();
  if (index >= static_cast<std::uint32_t>(table.image.terminals_size()))
    fail(ErrorKind::Damaged, "the snapshot has an end of a pseudo-terminal that it does not have");
  if (checked_) return;
  checked_ = true;
  std::vector<int> masters(static_cast<std::size_t>(table.image.terminals_size()));
  for (const Description& one : table.image.descriptions()) {
    const image::PseudoTerminalEnd& end = one.pseudo_terminal_end();
    if (end.master() && end.terminal() < masters.size()) ++masters[end.terminal()];
  }
  for (int i = 0; i < table.image.terminals_size(); ++i) {
    const image::PseudoTerminal& terminal = table.image.terminals(i);
    check_terminal(terminal.state());
    check_queues(terminal.queues(), terminal.state().settings());
    const bool possible = terminal.number() < kMostTerminals && (terminal.mode() & ~07777U) == 0 &&
                          terminal.foreground_group() >= 0 && masters[static_cast<std::size_t>(i)] == 1;
    if (!possible) fail(ErrorKind::Damaged, "the snapshot has a pseudo-terminal that cannot be");
  }
}

FileDescriptor& PseudoTerminalKind::make(TableRestore& table, std::uint32_t index) {
  FileDescriptor& master = masters_[index];
  if (master) return master;
  const image::PseudoTerminal& terminal = table.image.terminals(static_cast<int>(index));
  master = table.aside(open_master(terminal.number()));
  set_up(master.get(), terminal);
  const std::string now = new_path(master.get());
  if (now != path_of(terminal.number()))
    table.context.notes.push_back(fmt::format("the program's terminal {} is {} now", path_of(terminal.number()), now));
  return master;
}

FileDescriptor PseudoTerminalKind::open(TableRestore& table, const Description& description) {
  const image::PseudoTerminalEnd& end = description.pseudo_terminal_end();
  const FileDescriptor& master = make(table, end.terminal());
  return end.master() ? FileDescriptor(::dup(master.get()))
                      : open_again(new_path(master.get()), description.status_flags());
}

// What would stand in the way of opening the terminal, or of putting its data there.
void PseudoTerminalKind::complete(TableRestore& table) {
  constexpr int kYes = 1;
  for (const auto& [index, master] : masters_) {
    const image::PseudoTerminal& terminal = table.image.terminals(static_cast<int>(index));
    if (terminal.has_queues() || terminal.exclusive()) complete_terminal(master.get(), terminal);
    const bool done = (!terminal.master_exclusive() || ::ioctl(master.get(), TIOCEXCL) == 0) &&
                      (!terminal.packet_mode() || ::ioctl(master.get(), TIOCPKT, &kYes) == 0) &&
                      (!terminal.locked() || ::ioctl(master.get(), TIOCSPTLCK, &kYes) == 0);
    if (!done) fail_errno(errno, "cannot set up a pseudo-terminal");
  }
  masters_.clear();
}

namespace {

// The master of the terminal that controls the session which this process leads.
template <typename Action>
void with_own_terminal(const TableRestore& table, Action action) {
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(table.image.descriptions_size()); ++i) {
    const image::OpenDescription& description = table.image.descriptions(static_cast<int>(i));
    const image::PseudoTerminalEnd& end = description.pseudo_terminal_end();
    if (!end.master()) continue;
    const image::PseudoTerminal& terminal = table.image.terminals(static_cast<int>(end.terminal()));
    if (!terminal.is_controlling() || terminal.leader() != table.context.process) continue;
    if (!action(table.place_of(i), terminal))
      table.context.notes.push_back(fmt::format("{} does not control the session as it did: {}",
                                                new_path(table.place_of(i)), std::strerror(errno)));
  }
}

}  // namespace

void take_controlling_terminal(const TableRestore& table) {
  with_own_terminal(table, [](int master, const auto& /*terminal*/) {
    const FileDescriptor opened = open_again(new_path(master), O_RDWR);
    return ::ioctl(opened.get(), TIOCSCTTY, 0) == 0;
  });
}

// By the master: the terminal may be exclusive, or locked, by now.
void set_foreground_group(const TableRestore& table) {
  with_own_terminal(table, [](int master, const image::PseudoTerminal& terminal) {
    const pid_t group = terminal.foreground_group();
    return group == 0 || ::ioctl(master, TIOCSPGRP, &group) == 0;
  });
}

}  // namespace crs::engine
