#include "store/store.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/io.h"
#include "store/directory_tree.h"
#include "store/layer_times.h"

namespace crs {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): CRS never changes its environment.
  return value == nullptr ? "" : value;
}

std::string home_directory() {
  if (std::string home = environment("HOME"); home.starts_with('/')) return home;
  struct passwd entry{};
  struct passwd* found = nullptr;
  std::array<char, 16384> buffer;
  ::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found);
  if (found != nullptr && entry.pw_dir != nullptr && entry.pw_dir[0] == '/') return entry.pw_dir;
  throw Error(ErrorKind::Failed, "there is no home directory to keep the store in")
      .advise("Name a directory with CRS_STORE");
}

// Where the store cannot be, unlike where nothing can be written.
Error place_error(std::string_view what, int error_number) {
  Error error = disk_error(what, error_number);
  if (error_number == ENOENT || error_number == ENOTDIR || error_number == ELOOP || error_number == ENAMETOOLONG)
    error.advise("Name a directory, or where one can be made, with --store or CRS_STORE");
  return error;
}

// Creates `path` and what is missing above it, each mode 0700 and durably, and adds what it made to `made`.
void create_directories(Disk& disk, const std::filesystem::path& path, std::vector<std::string>& made) {
  if (path.empty() || path == path.root_path()) return;
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) return;
  create_directories(disk, path.parent_path(), made);
  if (::mkdir(path.c_str(), 0700) != 0) {
    if (errno == EEXIST) return;
    throw place_error(fmt::format("cannot create the store's directory {}", path.native()), errno);
  }
  made.push_back(path.native());
  const FileDescriptor parent(::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A parent that may be written but not read cannot be opened to sync it (open(2)): the directory is there all the
  // same.
  if (parent) disk.sync(parent.get(), path.parent_path().native());
}

void check_owner(int directory, const std::string& path) {
  struct stat status{};
  if (::fstat(directory, &status) != 0) fail_errno(errno, "cannot look at {}", path);
  if (status.st_uid != ::geteuid()) {
    throw Error(ErrorKind::Failed,
                fmt::format("the store {} belongs to user {} and you are user {}", path, status.st_uid, ::geteuid()))
        .advise("Name a store of your own with CRS_STORE");
  }
  constexpr mode_t kOthers = 077;
  if ((status.st_mode & kOthers) != 0) {
    throw Error(ErrorKind::Failed,
                fmt::format("the store {} is open to other users (mode {:03o})", path, status.st_mode & 0777))
        .advise(fmt::format("A snapshot holds all of a program's memory: 'chmod 700 {}'", path));
  }
}

bool is_job_name(const std::string& name) {
  try {
    check_job_name(name);
    return true;
  } catch (const Error&) {
    return false;
  }
}

[[noreturn]] void fail_not_found(const std::string& what, const std::string& store) {
  throw Error(ErrorKind::NotFound, fmt::format("there is no {} in {}", what, store))
      .advise("'crs list' shows the snapshots there are");
}

// A snapshot in the store must be the one its place says.
void check_identity(const SnapshotInfo& info) {
  const Reference recorded{info.manifest.job(), info.manifest.sequence()};
  if (recorded.to_string() == info.reference.to_string()) return;
  throw Error(ErrorKind::Damaged, fmt::format("{} holds the snapshot {} instead of {}", info.location,
                                              recorded.to_string(), info.reference.to_string()))
      .advise("Move it back to its place in the store");
}

}  // namespace

Snapshot SnapshotInfo::to_snapshot() const {
  Snapshot snapshot;
  snapshot.component = manifest.component().name();
  snapshot.reference = reference.to_string();
  snapshot.location = location;
  return snapshot;
}

std::string Store::default_location() {
  if (const std::string store = environment("CRS_STORE"); !store.empty()) return store;
  // A relative $XDG_STATE_HOME is to be ignored, says the XDG Base Directory Specification.
  if (const std::string state = environment("XDG_STATE_HOME"); state.starts_with('/')) return state + "/crs";
  return home_directory() + "/.local/state/crs";
}

namespace {

// Without a slash at its end.
std::string absolute_location(const std::string& location) {
  const std::filesystem::path absolute = std::filesystem::path(absolute_path(location)).lexically_normal();
  return absolute.has_filename() ? absolute.native() : absolute.parent_path().native();
}

// Any other directory lacks a manifest, too, and is not damaged for that.
void require_snapshot(const std::string& directory) {
  const auto lacks = [&](const char* name) {
    struct stat status{};
    return ::lstat(fmt::format("{}/{}", directory, name).c_str(), &status) != 0 && errno == ENOENT;
  };
  struct stat status{};
  if (::stat(directory.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) return;  // who opens it says why not
  if (!lacks("manifest") || !lacks("process") || !lacks("pages")) return;
  throw Error(ErrorKind::NotFound, fmt::format("there is no snapshot in {}", directory))
      .advise("The directory of a snapshot is STORE/JOB/SEQ, or a copy of it");
}

}  // namespace

Store::Store(const std::string& location, std::shared_ptr<Disk> disk) : disk_(std::move(disk)) {
  location_ = absolute_location(location);
  open_root();
}

FileDescriptor Store::open_root() const {
  FileDescriptor root(::open(location_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root && errno == ENOENT) return {};
  if (!root) throw place_error(fmt::format("cannot open the store {}", location_), errno);
  check_owner(root.get(), location_);
  return root;
}

FileDescriptor Store::create_root() {
  create_directories(*disk_, location_, made_);
  FileDescriptor root = open_root();
  std::error_code unseen;
  if (!root && std::filesystem::is_symlink(location_, unseen)) {
    throw Error(ErrorKind::Failed, fmt::format("the store {} is a symbolic link that leads nowhere", location_))
        .advise("Make the directory that it names, or name another store with CRS_STORE");
  }
  // Another one that is given up just now takes along what it had made: with_job() tries again.
  if (!root) throw Error::from_errno(fmt::format("the store {} vanished as soon as it was created", location_), ENOENT);
  return root;
}

std::vector<std::string> Store::jobs() const {
  const FileDescriptor root = open_root();
  if (!root) return {};
  std::vector<std::string> jobs = names_in(root.get(), location_);
  std::erase_if(jobs, [&](const std::string& name) {
    struct stat status{};
    return !is_job_name(name) || ::fstatat(root.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
           !S_ISDIR(status.st_mode);
  });
  return jobs;
}

std::optional<JobDirectory> Store::open_job(const std::string& job) const {
  check_job_name(job);
  const FileDescriptor root = open_root();
  if (!root) return std::nullopt;
  return JobDirectory::open(root.get(), location_, job);
}

JobDirectory Store::create_job(const std::string& job) {
  check_job_name(job);
  return JobDirectory::create(create_root().get(), location_, job);
}

Store::LockedJob Store::lock_job(const SnapshotRequest& request) {
  const auto report = [&] {
    if (request.progress) request.progress(fmt::format("waiting for another checkpoint of {}", request.job));
  };
  return with_job(request.job, [&](JobDirectory directory) -> LockedJob {
    std::optional<FileLock> lock =
        FileLock::acquire(directory.descriptor(), kJobLockName, directory.path(), request.wait_limit, report);
    return {std::move(directory), std::move(lock)};
  });
}

std::unique_ptr<SnapshotWriter> Store::begin(const SnapshotRequest& request) {
  auto [directory, lock] = lock_job(request);
  if (!lock) {
    throw Error(ErrorKind::Failed, fmt::format("another checkpoint of {} is still going on after {} ms", request.job,
                                               request.wait_limit.count()))
        .advise(
            fmt::format("Try again later; 'fuser {}/{}' tells which process it is", directory.path(), kJobLockName));
  }
  try {
    directory.clean_leftovers();
  } catch (const Error& error) {
    // They only take space: no reason to go without the new snapshot.
    if (request.progress)
      request.progress(fmt::format("leftovers of an interrupted checkpoint stay: {}", error.what()));
  }
  return std::make_unique<SnapshotWriter>(disk_, std::move(directory), std::move(*lock), request, made_);
}

SnapshotInfo Store::inspect(const JobDirectory& directory, std::uint64_t sequence, Look look) const {
  SnapshotInfo info{{directory.job(), sequence}, fmt::format("{}/{}", directory.path(), sequence), {}, {}};
  try {
    // What else has that name, a link say, is damage.
    static_cast<void>(open_directory_if_present(directory.descriptor(), std::to_string(sequence), info.location));
    const SnapshotReader reader(info.location);
    info.manifest = reader.manifest();
    check_identity(info);
    if (look == Look::Files) info.damage = reader.missing();
    if (!info.damage || directory.has(sequence)) return info;
  } catch (const Error&) {
    if (directory.has(sequence)) throw;
  }
  // What is being removed just now is not damaged.
  fail_not_found(fmt::format("snapshot {}", info.reference.to_string()), location_);
}

std::vector<SnapshotInfo> Store::list(const std::optional<std::string>& job) const {
  std::vector<SnapshotInfo> snapshots;
  for (const std::string& name : job ? std::vector{*job} : jobs()) {
    const std::optional<JobDirectory> directory = open_job(name);
    if (!directory) continue;
    directory->clean_leftovers_if_idle();
    for (const std::uint64_t sequence : directory->sequences()) {
      try {
        snapshots.push_back(inspect(*directory, sequence, Look::Files));
      } catch (const Error& error) {
        // Removed since the directory was read.
        if (error.kind() == ErrorKind::NotFound) continue;
        snapshots.push_back({{name, sequence}, fmt::format("{}/{}", directory->path(), sequence), {}, error});
      }
    }
  }
  return snapshots;
}

JobDirectory Store::open_job_of(const Reference& reference) const {
  std::optional<JobDirectory> directory = open_job(reference.job);
  if (!directory) fail_not_found(fmt::format("job {}", reference.job), location_);
  return std::move(*directory);
}

std::uint64_t Store::sequence_of(const JobDirectory& directory, const Reference& reference) const {
  const std::vector<std::uint64_t> sequences = directory.sequences();
  if (sequences.empty()) fail_not_found(fmt::format("snapshot of {}", reference.job), location_);
  const std::uint64_t sequence = reference.sequence.value_or(sequences.back());
  if (!std::ranges::binary_search(sequences, sequence))
    fail_not_found(fmt::format("snapshot {}", reference.to_string()), location_);
  return sequence;
}

void Store::check_present(const Reference& reference) const { sequence_of(open_job_of(reference), reference); }

SnapshotInfo Store::open(const Reference& reference) const {
  const JobDirectory directory = open_job_of(reference);
  const std::uint64_t sequence = sequence_of(directory, reference);
  return inspect(directory, sequence, Look::Manifest);
}

SnapshotInfo Store::open_location(const std::string& location) {
  const std::string directory = absolute_location(location);
  require_snapshot(directory);
  const SnapshotReader reader(directory);
  const store::Manifest& manifest = reader.manifest();
  return {{manifest.job(), manifest.sequence()}, reader.location(), manifest, {}};
}

void Store::remove_sequence(const JobDirectory& directory, std::uint64_t sequence, RemovedSnapshots& removed) {
  const std::string name = std::to_string(sequence);
  const std::string path = directory.path() + "/" + name;
  if (::unlinkat(directory.descriptor(), name.c_str(), 0) == 0) {  // it was no directory
    disk_->sync(directory.descriptor(), directory.path());
    removed.references.push_back({directory.job(), sequence});
    return;
  }
  const FileDescriptor snapshot = open_directory_if_present(directory.descriptor(), name, path);
  if (!snapshot) return;
  std::uint64_t bytes = 0;
  for (const TreeEntry& entry : list_tree(snapshot.get(), path))
    if (entry.status.st_nlink == 1) bytes += static_cast<std::uint64_t>(entry.status.st_size);
  // Out of sight in one step, so that an interrupted removal never leaves half a snapshot. rename(2) puts a directory
  // in the place of an empty one.
  const std::string doomed = make_unique_directory(directory.path(), fmt::format("{}{}-", kRemovedPrefix, sequence));
  disk_->rename_over(directory.descriptor(), name, doomed, directory.path());
  disk_->sync(directory.descriptor(), directory.path());
  // Without its snapshot it says nothing; where it stays, it is in nobody's way.
  ::unlinkat(directory.descriptor(), layer_times_name(sequence).c_str(), 0);
  removed.references.push_back({directory.job(), sequence});
  removed.bytes += bytes;
  remove_tree(directory.descriptor(), doomed, directory.path());
}

RemovedSnapshots Store::remove(const Reference& reference) {
  const JobDirectory directory = open_job_of(reference);
  const std::uint64_t sequence = sequence_of(directory, reference);
  RemovedSnapshots removed;
  remove_sequence(directory, sequence, removed);
  return removed;
}

RemovedSnapshots Store::remove_job(const std::string& job) {
  const JobDirectory directory = open_job_of({job, std::nullopt});
  std::vector<std::uint64_t> sequences = directory.sequences();
  if (sequences.empty()) fail_not_found(fmt::format("snapshot of {}", job), location_);
  std::ranges::reverse(sequences);
  RemovedSnapshots removed;
  for (const std::uint64_t sequence : sequences) remove_sequence(directory, sequence, removed);
  directory.clean_leftovers_if_idle();
  removed.set_aside = find_set_aside(directory);
  return removed;
}

std::string Store::remembered_path(const std::string& job) {
  return fmt::format("{}/{}", create_job(job).path(), kRememberedName);
}

std::string Store::path_if_remembered(const std::string& job) const {
  return fmt::format("{}/{}/{}", location(), job, kRememberedName);
}

SetAside Store::make_set_aside(const Reference& reference) {
  const JobDirectory directory = create_job(reference.job);
  // With a snapshot in it, it is durable.
  if (directory.sequences().empty()) disk_->sync(directory.open_store().get(), location_);
  return {directory, reference.sequence.value_or(0)};
}

}  // namespace crs
