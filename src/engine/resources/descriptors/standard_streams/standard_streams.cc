#include "engine/resources/descriptors/standard_streams/standard_streams.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "engine/resources/descriptors/files/identity.h"
#include "engine/resources/descriptors/terminals/terminals.h"

namespace crs::engine {
namespace {

constexpr const char* kNothing = "/dev/null";

// The master of a pseudo-terminal looks like one, but is the other side of it.
bool is_terminal(const Seen& seen) {
  return S_ISCHR(seen.status.st_mode) && seen.status.st_rdev != makedev(5, 2) && ::isatty(seen.copy.get()) != 0;
}

bool may_lead_outside(const Seen& seen) {
  if (seen.is_path_only()) return false;
  return S_ISFIFO(seen.status.st_mode) || S_ISSOCK(seen.status.st_mode) || is_terminal(seen);
}

bool is_same_object(const struct stat& a, const struct stat& b) {
  if (S_ISCHR(a.st_mode) && S_ISCHR(b.st_mode)) return a.st_rdev == b.st_rdev;  // any node of the device
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

std::string describe(const Seen& seen) {
  return fmt::format("{} {}",
                     S_ISREG(seen.status.st_mode)    ? "file"
                     : S_ISCHR(seen.status.st_mode)  ? "terminal"
                     : S_ISFIFO(seen.status.st_mode) ? "pipe"
                                                     : "socket",
                     seen.link);
}

FileDescriptor open_nothing(TableRestore& table, const image::OpenDescription& description) {
  const image::StandardStream& stream = description.standard_stream();
  table.context.notes.push_back(fmt::format("standard stream {} (was {}) is closed here: the program gets /dev/null",
                                            stream.stream(), stream.what()));
  return open_again(kNothing, (description.status_flags() & ~static_cast<std::uint32_t>(O_ACCMODE)) | O_RDWR);
}

// A description of the program's own of what `stream` leads to, so that its flags are not set for whoever else uses the
// stream. Regular files are not opened anew: their offset is shared with the caller, as it is with any command.
FileDescriptor own_description(int stream, const struct stat& object, std::uint32_t flags) {
  const bool terminal = S_ISCHR(object.st_mode) && ::isatty(stream) != 0;
  if (!terminal && !S_ISFIFO(object.st_mode)) return {};
  if (!terminal) {
    const int current = ::fcntl(stream, F_GETFL);
    if (current < 0) return {};
    flags = (flags & ~static_cast<std::uint32_t>(O_ACCMODE)) | (static_cast<std::uint32_t>(current) & O_ACCMODE);
  }
  try {
    FileDescriptor opened = reopen(stream, flags & ~static_cast<std::uint32_t>(O_DIRECT));
    constexpr std::uint32_t kOwnFlags = O_NONBLOCK | O_APPEND;
    if (::fcntl(opened.get(), F_SETFL, flags & kOwnFlags) != 0) return {};
    return opened;
  } catch (const Error&) {
    return {};  // another user's terminal: its description is shared then
  }
}

}  // namespace

std::optional<int> standard_stream_of(const TableCapture& table, const Seen& seen) {
  // What writes goes to an output rather than to the input.
  for (const std::uint32_t process : {std::uint32_t{0}, seen.first_process()}) {
    for (const int stream : seen.writes() ? std::array{1, 2, 0} : std::array{0, 1, 2}) {
      const Seen* const standard = table.find(process, stream);
      if (standard != nullptr && may_lead_outside(*standard) && is_same_object(standard->status, seen.status))
        return stream;
    }
  }
  return std::nullopt;
}

bool StandardStreamKind::recognises(const TableCapture& table, const Seen& seen) {
  return is_stream_out_of_reach(seen) || (may_lead_outside(seen) && standard_stream_of(table, seen).has_value());
}

void StandardStreamKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  image::StandardStream& stream = *description.mutable_standard_stream();
  stream.set_stream(standard_stream_of(table, seen).value_or(seen.first()));  // the table sets it for parts
  stream.set_origin(static_cast<std::uint32_t>(&seen - table.seen.data()));
  stream.set_what(describe(seen));
  if (S_ISREG(seen.status.st_mode)) {
    table.context.warnings.push_back(fmt::format(
        "{} is {}, a file that cannot be opened again from here: a restarted program has a stream of crs restart there",
        table.name_of(seen), seen.link));
  }
  if (is_terminal(seen)) *stream.mutable_terminal() = look_at_terminal(seen.copy.get(), table.name_of(seen));
}

void StandardStreamKind::check(TableCheck& /*table*/, const Description& description) {
  const image::StandardStream& stream = description.standard_stream();
  if (stream.stream() < 0 || stream.stream() > 2)
    fail(ErrorKind::Damaged, "the snapshot has a standard stream {} that cannot be", stream.stream());
  if (stream.has_terminal()) check_terminal(stream.terminal());
}

// A terminal that the program had under another number, too, is a terminal again if the restart command has one
// anywhere.
int StandardStreamKind::choose_stream(const TableRestore& table, const image::StandardStream& stream) {
  const auto is_terminal = [&](int number) { return table.stream(number) >= 0 && ::isatty(table.stream(number)) != 0; };
  if (!stream.elsewhere() || !stream.has_terminal() || is_terminal(stream.stream())) return stream.stream();
  for (int number = 0; number < 3; ++number) {
    if (is_terminal(number)) return number;
  }
  return stream.stream();
}

FileDescriptor StandardStreamKind::open(TableRestore& table, const Description& description) {
  const image::StandardStream& stream = description.standard_stream();
  const int given = table.stream(choose_stream(table, stream));
  struct stat object{};
  if ((given < 0 ? ::stat(kNothing, &object) : ::fstat(given, &object)) != 0)
    fail_errno(errno, "cannot look at standard stream {}", stream.stream());
  for (const Opened& one : opened_) {
    if (one.origin == stream.origin() && is_same_object(one.object, object))
      return FileDescriptor(::dup(one.descriptor.get()));
  }
  FileDescriptor opened =
      given < 0 ? open_nothing(table, description) : own_description(given, object, description.status_flags());
  if (!opened) return FileDescriptor(::dup(given));
  opened_.push_back({stream.origin(), object, table.aside(FileDescriptor(::dup(opened.get())))});
  return opened;
}

void StandardStreamKind::activate(TableActivation& table, const Description& description, int /*number*/) {
  const image::StandardStream& stream = description.standard_stream();
  if (!stream.has_terminal() || table.context.options.detach) return;
  // This runs in the restart command, whose own streams they are.
  if (apply_terminal(stream.stream(), stream.terminal())) ::kill(table.context.pid, SIGWINCH);
}

}  // namespace crs::engine
