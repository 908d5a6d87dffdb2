#include "engine/resources/descriptors/locks/locks.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <optional>

#include "base/error.h"

namespace crs::engine {
namespace {

// "1: POSIX  ADVISORY  WRITE 4711 fe:01:1234 0 EOF", as in /proc/locks (proc_locks(5)).
struct LockLine {
  image::FileLock::Type type = image::FileLock::UNKNOWN;
  bool write = false;
  std::uint64_t start = 0;
  std::uint64_t length = 0;
};

image::FileLock::Type type_of(std::string_view word) {
  if (word == "FLOCK") return image::FileLock::FLOCK;
  if (word == "POSIX") return image::FileLock::POSIX;
  if (word == "OFDLCK") return image::FileLock::OPEN_DESCRIPTION;
  return image::FileLock::UNKNOWN;
}

// Type UNKNOWN for anything that cannot be kept.
LockLine parse_lock(std::string_view line) {
  constexpr std::size_t kWords = 8;
  const std::vector<std::string_view> words = words_of(line);
  if (words.size() != kWords || words[2] != "ADVISORY" || (words[3] != "READ" && words[3] != "WRITE")) return {};
  const auto start = parse_number(words[6]);
  const auto last = words[7] == "EOF" ? std::optional<std::uint64_t>(0) : parse_number(words[7]);
  if (!start || !last || (words[7] != "EOF" && *last < *start)) return {};
  return {type_of(words[1]), words[3] == "WRITE", *start, words[7] == "EOF" ? 0 : *last - *start + 1};
}

bool is_equal(const image::FileLock& a, const image::FileLock& b) {
  return a.type() == b.type() && a.process() == b.process() && a.number() == b.number() && a.write() == b.write() &&
         a.start() == b.start() && a.length() == b.length();
}

// A number of the process through which a POSIX lock on this file can be taken: every descriptor of the file shows the
// lock, but only one open for reading (writing) gives a shared (exclusive) one.
SeenNumber number_for(const TableCapture& table, const Seen& seen, const SeenNumber& shown_by, const LockLine& line) {
  if (line.type != image::FileLock::POSIX || (line.write ? seen.writes() : seen.reads())) return shown_by;
  for (const Seen& one : table.seen) {
    const bool same_file = one.status.st_dev == seen.status.st_dev && one.status.st_ino == seen.status.st_ino;
    if (!same_file || one.is_path_only() || !(line.write ? one.writes() : one.reads())) continue;
    const auto found = std::ranges::find(one.numbers, shown_by.process, &SeenNumber::process);
    if (found != one.numbers.end()) return *found;
  }
  return shown_by;
}

// The locks that a process holds and that its descriptor `shown_by` of `seen` shows.
void capture_locks_of(TableCapture& table, const Seen& seen, const SeenNumber& shown_by) {
  const FdInfo info = FdInfo::of(table.processes[shown_by.process].pid, shown_by.number);
  for (const std::string_view text : info.all("lock")) {
    const LockLine line = parse_lock(text);
    if (line.type == image::FileLock::UNKNOWN) {
      table.refuse(seen, fmt::format("{}, on which the process holds a lease or lock of a kind that is not kept ({})",
                                     seen.link, text));
      continue;
    }
    image::FileLock lock;
    const SeenNumber by = number_for(table, seen, shown_by, line);
    lock.set_type(line.type);
    lock.set_number(by.number);
    lock.set_process(by.process);
    lock.set_write(line.write);
    lock.set_start(line.start);
    lock.set_length(line.length);
    const auto& known = table.image.locks();
    if (std::ranges::none_of(known, [&](const image::FileLock& other) { return is_equal(lock, other); }))
      *table.image.add_locks() = lock;
  }
}

std::int64_t take_flock(RemoteCaller& remote, const image::FileLock& lock) {
  const int operation = (lock.write() ? LOCK_EX : LOCK_SH) | LOCK_NB;
  return remote.raw_call(SYS_flock, {static_cast<std::uint64_t>(lock.number()), static_cast<std::uint64_t>(operation)});
}

std::int64_t take_range(RemoteCaller& remote, const image::FileLock& lock) {
  struct flock range{};
  range.l_type = static_cast<short>(lock.write() ? F_WRLCK : F_RDLCK);
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(lock.start());
  range.l_len = static_cast<off_t>(lock.length());
  const int command = lock.type() == image::FileLock::POSIX ? F_SETLK : F_OFD_SETLK;
  const RemoteAddress address = remote.put(range);
  return remote.raw_call(
      SYS_fcntl, {static_cast<std::uint64_t>(lock.number()), static_cast<std::uint64_t>(command), address.value});
}

}  // namespace

// A lock of a process is shown by its own descriptors alone, one of a description by all of them.
void capture_locks(TableCapture& table, const Seen& seen) {
  std::optional<std::uint32_t> last;
  for (const SeenNumber& number : seen.numbers) {
    if (number.locked && last != number.process) capture_locks_of(table, seen, number);
    last = number.process;
  }
}

void check_locks(const image::Descriptors& image) {
  constexpr std::uint64_t kLimit = std::numeric_limits<off_t>::max();
  for (const image::FileLock& lock : image.locks()) {
    const bool possible = lock.type() >= image::FileLock::FLOCK && lock.type() <= image::FileLock::OPEN_DESCRIPTION &&
                          lock.start() <= kLimit && lock.length() <= kLimit &&
                          has_number(image, lock.process(), lock.number());
    if (!possible) fail(ErrorKind::Damaged, "the snapshot has a file lock that cannot be");
  }
}

void take_locks(TableActivation& table) {
  for (const image::FileLock& lock : table.image.locks()) {
    RemoteCaller& remote = table.processes[lock.process()]->remote;
    const std::int64_t result =
        lock.type() == image::FileLock::FLOCK ? take_flock(remote, lock) : take_range(remote, lock);
    if (result >= 0) continue;
    const int problem = static_cast<int>(-result);
    const auto name = [&] { return name_of(lock.process(), lock.number(), table.context.process_ids); };
    if (problem == EAGAIN || problem == EACCES) {
      throw Error(ErrorKind::Failed,
                  fmt::format("another process holds a lock on the file of {}, which the program had locked", name()))
          .advise("End that process first; perhaps it is the program itself, still running");
    }
    fail_errno(problem, "cannot lock the file of {} again", name());
  }
}

}  // namespace crs::engine
