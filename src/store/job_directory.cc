#include "store/job_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "base/error.h"
#include "base/io.h"
#include "store/directory_tree.h"

namespace crs {
namespace {

constexpr const char* kSequenceName = "sequence";

// Of a number as this program writes it: from 1, without leading zeros.
std::optional<std::uint64_t> parse_sequence(std::string_view text) {
  std::uint64_t value = 0;
  const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || stop != text.data() + text.size() || text.front() == '0') return std::nullopt;
  return value;
}

// Whatever has the name of a snapshot is one, or a damaged one.
bool exists(int parent, const std::string& name) {
  return ::faccessat(parent, name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW | AT_EACCESS) == 0 || errno != ENOENT;
}

// Of a checkpoint or removal that was interrupted; replace_file() writes the last one.
bool is_leftover(std::string_view name) {
  return name.starts_with(kPartialPrefix) || name.starts_with(kRemovedPrefix) || name == "sequence.new";
}

// What a job has before its first snapshot, too.
bool is_of_no_snapshot(std::string_view name) {
  return name == kJobLockName || name == kRunningLockName || name == kRememberedName;
}

}  // namespace

std::optional<JobDirectory> JobDirectory::open(int store, const std::string& store_path, const std::string& job) {
  std::string path = store_path + "/" + job;
  FileDescriptor directory = open_directory_if_present(store, job, path);
  if (!directory) return std::nullopt;
  return JobDirectory(std::move(directory), job, std::move(path));
}

JobDirectory JobDirectory::create(int store, const std::string& store_path, const std::string& job) {
  if (::mkdirat(store, job.c_str(), 0700) != 0 && errno != EEXIST)
    throw disk_error(fmt::format("cannot create {}/{}", store_path, job), errno);
  std::optional<JobDirectory> directory = open(store, store_path, job);
  if (!directory)
    throw Error::from_errno(fmt::format("{}/{} vanished as soon as it was created", store_path, job), ENOENT);
  return std::move(*directory);
}

std::vector<std::uint64_t> JobDirectory::sequences() const {
  std::vector<std::uint64_t> sequences;
  for (const std::string& name : names_in(descriptor(), path_)) {
    const std::optional<std::uint64_t> sequence = parse_sequence(name);
    if (sequence) sequences.push_back(*sequence);
  }
  std::ranges::sort(sequences);
  return sequences;
}

bool JobDirectory::has(std::uint64_t sequence) const { return exists(descriptor(), std::to_string(sequence)); }

std::uint64_t JobDirectory::recorded_sequence() const {
  const FileDescriptor file(::openat(descriptor(), kSequenceName, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file && errno == ENOENT) return 0;
  const std::string path = path_ + "/" + kSequenceName;
  if (!file) fail_errno(errno, "cannot open {}", path);
  constexpr std::size_t kLongest = 64;
  std::string text = crs::read_file(file.get(), path, kLongest);
  const bool whole = text.ends_with('\n');
  if (whole) text.pop_back();
  const std::optional<std::uint64_t> sequence = parse_sequence(text);
  if (!whole || !sequence) {
    throw Error(ErrorKind::Damaged, fmt::format("{} holds no sequence number", path))
        .advise("Remove this file; numbers then go on after the highest snapshot that is there");
  }
  return *sequence;
}

std::uint64_t JobDirectory::next_sequence() const {
  std::uint64_t highest = recorded_sequence();
  for (const std::uint64_t sequence : sequences()) highest = std::max(highest, sequence);
  if (highest == std::numeric_limits<std::uint64_t>::max())
    fail(ErrorKind::Failed, "{} has used up its sequence numbers", path_);
  return highest + 1;
}

Replacement JobDirectory::record_of(Disk& disk, std::uint64_t sequence) const {
  return {disk, descriptor(), kSequenceName, fmt::format("{}\n", sequence), path_};
}

bool JobDirectory::has_record() const {
  return ::faccessat(descriptor(), kSequenceName, F_OK, AT_EACCESS) == 0 || errno != ENOENT;
}

void JobDirectory::remove_record() const noexcept { ::unlinkat(descriptor(), kSequenceName, 0); }

FileDescriptor JobDirectory::open_store() const {
  FileDescriptor store(::openat(descriptor(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!store) fail_errno(errno, "cannot open the directory around {}", path_);
  return store;
}

void JobDirectory::clean_leftovers() const {
  for (const std::string& name : names_in(descriptor(), path_)) {
    if (is_leftover(name)) remove_tree(descriptor(), name, path_);
  }
}

void JobDirectory::clean_leftovers_if_idle() const {
  try {
    const std::vector<std::string> names = names_in(descriptor(), path_);
    if (std::ranges::none_of(names, is_leftover) && !std::ranges::all_of(names, is_of_no_snapshot)) return;
    if (const std::optional<FileLock> lock = FileLock::try_acquire(descriptor(), kJobLockName, path_)) {
      clean_leftovers();
      remove_if_unused();
    }
  } catch (const Error&) {
    // Leftovers are no snapshots and harm nobody: one that cannot be cleaned (a read-only store) must not keep the
    // snapshots from being listed.
    return;
  }
}

void JobDirectory::remove_if_unused() const noexcept {
  try {
    // Whoever is about to announce a program of this job holds it.
    const std::optional<FileLock> running = FileLock::try_acquire(descriptor(), kRunningLockName, path_);
    if (!running || !std::ranges::all_of(names_in(descriptor(), path_), is_of_no_snapshot)) return;
    for (const char* const name : {kRememberedName, kRunningLockName, kJobLockName}) ::unlinkat(descriptor(), name, 0);
    ::unlinkat(open_store().get(), job_.c_str(), AT_REMOVEDIR);  // fails where somebody else has begun to use it
  } catch (const std::exception&) {
    // It is in nobody's way.
    return;
  }
}

std::string make_unique_directory(const std::string& path, const std::string& prefix) {
  std::string full = path + "/" + prefix + "XXXXXX";
  if (::mkdtemp(full.data()) == nullptr) throw disk_error(fmt::format("cannot create a directory in {}", path), errno);
  return full.substr(path.size() + 1);
}

}  // namespace crs
