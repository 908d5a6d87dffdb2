#include "store/snapshot_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ranges>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "base/io.h"
#include "store/directory_tree.h"
#include "store/extents/extent_file.h"

namespace crs {
namespace {

constexpr std::string_view kIndexSuffix = ".index";
constexpr mode_t kCommittedMode = 0400;

std::int64_t nanoseconds_since_epoch() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::uint64_t nanoseconds_since(std::chrono::steady_clock::time_point begin) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - begin).count());
}

void describe_host(store::Manifest& manifest) {
  struct utsname names{};
  if (::uname(&names) != 0) fail_errno(errno, "cannot ask for the system's name");
  manifest.set_host(names.nodename);
  manifest.set_kernel(fmt::format("{} {} {} {}", names.sysname, names.release, names.version, names.machine));
  manifest.set_user_id(::geteuid());
}

store::Manifest describe_request(const SnapshotRequest& request, std::uint64_t sequence) {
  store::Manifest manifest;
  manifest.set_format_version(kFormatVersion);
  store::ComponentRecord& component = *manifest.mutable_component();
  component.set_name(request.component);
  component.set_version(request.component_version);
  component.set_interface_major(static_cast<std::uint32_t>(request.interface_version.major));
  component.set_interface_minor(static_cast<std::uint32_t>(request.interface_version.minor));
  component.set_interface_patch(static_cast<std::uint32_t>(request.interface_version.patch));
  manifest.set_job(request.job);
  manifest.set_sequence(sequence);
  manifest.set_taken_at(nanoseconds_since_epoch());
  describe_host(manifest);
  return manifest;
}

void describe_program(store::Manifest& manifest, const SnapshotContents& contents) {
  store::ProgramRecord& program = *manifest.mutable_program();
  program.set_pid(contents.pid);
  program.set_threads(contents.threads);
  program.set_processes(contents.processes);
  program.set_executable(contents.executable);
  for (const std::string& argument : contents.command_line) program.add_command_line(argument);
  program.set_working_directory(contents.working_directory);
  for (const std::string& feature : contents.cpu_features) program.add_cpu_features(feature);
}

void add_pass(store::Manifest& manifest, const Pass& pass) {
  store::PassRecord& record = *manifest.add_passes();
  record.set_name(pass.name);
  record.set_nanoseconds(pass.nanoseconds);
  record.set_bytes(pass.bytes);
  record.set_part_of(pass.part_of);
}

void describe_contents(store::Manifest& manifest, const SnapshotContents& contents) {
  describe_program(manifest, contents);
  for (const Pass& pass : contents.passes) add_pass(manifest, pass);
  manifest.set_pause_nanoseconds(contents.pause_nanoseconds);
  manifest.set_memory_bytes(contents.memory_bytes);
  if (contents.parent_sequence != 0) manifest.set_parent_sequence(contents.parent_sequence);
  for (const std::string& warning : contents.warnings) manifest.add_warnings(warning);
  for (const MemoryRange& range : contents.excluded) {
    store::RangeRecord& excluded = *manifest.add_excluded();
    excluded.set_start(range.start);
    excluded.set_end(range.end);
  }
}

}  // namespace

SnapshotWriter::SnapshotWriter(std::shared_ptr<Disk> disk, JobDirectory directory, FileLock lock,
                               const SnapshotRequest& request, std::vector<std::string> made_around)
    : disk_(std::move(disk)),
      directory_(std::move(directory)),
      lock_(std::move(lock)),
      cpu_features_(request.cpu_features),
      reference_{request.job, directory_.next_sequence()},
      begun_(std::chrono::steady_clock::now()),
      manifest_(describe_request(request, *reference_.sequence)),
      owner_(::getpid()),
      made_around_(std::move(made_around)) {
  partial_name_ = make_unique_directory(directory_.path(), fmt::format("{}{}-", kPartialPrefix, *reference_.sequence));
  location_ = directory_.path() + "/" + partial_name_;
}

SnapshotWriter::~SnapshotWriter() {
  // A forked copy of this process has a copy of this object, but the directory is not its own.
  if (::getpid() == owner_) remove_partial();
}

void SnapshotWriter::set_layers(const std::vector<LayerTime>& layers) {
  manifest_.clear_layers();
  std::vector<store::LayerRecord> highest_first;
  for (const LayerTime& time : layers) {
    // A layer that could not yet is asked again, and again.
    const bool again = !highest_first.empty() && highest_first.back().name() == time.layer;
    if (!again) highest_first.emplace_back().set_name(time.layer);
    highest_first.back().set_nanoseconds(highest_first.back().nanoseconds() + time.nanoseconds);
  }
  for (const auto& record : highest_first | std::views::reverse) *manifest_.add_layers() = record;
}

void SnapshotWriter::take_over(const store::Manifest& earlier) {
  manifest_.set_taken_at(earlier.taken_at());
  manifest_.set_host(earlier.host());
  manifest_.set_kernel(earlier.kernel());
  manifest_.set_user_id(earlier.user_id());
  *manifest_.mutable_layers() = earlier.layers();
  *manifest_.mutable_same_as_sequences() = earlier.same_as_sequences();
  manifest_.add_same_as_sequences(earlier.sequence());
}

std::string SnapshotWriter::final_location() const {
  return fmt::format("{}/{}", directory_.path(), *reference_.sequence);
}

void SnapshotWriter::commit(const SnapshotContents& contents) {
  if (std::exchange(spent_, true))
    fail(ErrorKind::Failed, "the snapshot {} was committed before", reference_.to_string());
  try {
    in_context(fmt::format("while storing the snapshot {}", reference_.to_string()), [&] {
      write_snapshot(contents);
      make_visible();
    });
  } catch (...) {
    remove_partial();
    throw;
  }
  committed_ = true;
  lock_.reset();
}

// Everything is on disk when this returns, and the number is spent, so that it will be even if the snapshot is removed
// as soon as it can be seen. Waiting for the disk takes longer than all else of a small snapshot: it is done twice,
// each time for all that may be written in any order.
void SnapshotWriter::write_snapshot(const SnapshotContents& contents) {
  const auto begin = std::chrono::steady_clock::now();
  const FileDescriptor directory = open_directory_if_present(directory_.descriptor(), partial_name_, location_);
  if (!directory) fail(ErrorKind::Failed, "{} was removed while the snapshot was being made", location_);
  describe_contents(manifest_, contents);
  if (contents.cpu_features.empty() && cpu_features_) {
    for (const std::string& feature : cpu_features_()) manifest_.mutable_program()->add_cpu_features(feature);
  }
  Replacement record = directory_.record_of(*disk_, *reference_.sequence);
  PendingSyncs syncs(*disk_);
  collect_files(directory.get(), syncs);
  collect_directories(directory.get(), syncs);
  FileDescriptor record_file(::fcntl(record.unsynced().descriptor, F_DUPFD_CLOEXEC, 0));
  if (!record_file) fail_errno(errno, "cannot open {} once more", record.unsynced().path);
  syncs.add(std::move(record_file), record.unsynced().path);
  syncs.finish();
  add_pass(manifest_, {.name = "sync", .nanoseconds = nanoseconds_since(begin), .bytes = manifest_.stored_bytes()});
  manifest_.set_total_nanoseconds(nanoseconds_since(begun_));
  const FileDescriptor manifest = write_manifest(directory.get());
  is_first_record_ = !directory_.has_record();
  record.put();
  const FileDescriptor store = directory_.open_store();
  disk_->sync_all(std::array<Disk::Unsynced, 4>{{{manifest.get(), manifest_path()},
                                                 {directory.get(), location_},
                                                 {directory_.descriptor(), directory_.path()},
                                                 {store.get(), directory_.path() + "/.."}}});
}

void SnapshotWriter::collect_files(int directory, PendingSyncs& syncs) {
  std::set<std::string> names;
  for (const TreeEntry& entry : list_tree(directory, location_)) {
    if (!S_ISREG(entry.status.st_mode)) fail(ErrorKind::Failed, "{}/{} is not a regular file", location_, entry.name);
    if (entry.name == kManifestName)
      fail(ErrorKind::Failed, "{}/{} is not the component's to write", location_, entry.name);
    names.insert(entry.name);
  }
  for (const std::string& name : names) {
    const std::string index = base_of_earlier_data(name).value_or(name) + std::string(kIndexSuffix);
    finish_file(directory, name, names.contains(index) ? index : "", syncs);
  }
}

void SnapshotWriter::finish_file(int directory, const std::string& name, const std::string& index,
                                 PendingSyncs& syncs) {
  const std::string path = location_ + "/" + name;
  FileDescriptor file = open_file_beneath(directory, name, location_);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) fail_errno(errno, "cannot look at {}", path);
  store::FileRecord& record = *manifest_.add_files();
  record.set_name(name);
  record.set_size(static_cast<std::uint64_t>(status.st_size));
  if (!index.empty()) {
    record.set_verified_by(index);
  } else {
    record.set_checksum(hash_file(file.get(), path, record.size()).to_bytes());
  }
  manifest_.set_stored_bytes(manifest_.stored_bytes() + record.size());
  if (status.st_nlink > 1) manifest_.set_shared_bytes(manifest_.shared_bytes() + record.size());
  if (::fchmod(file.get(), kCommittedMode) != 0)
    throw disk_error(fmt::format("cannot change the mode of {}", path), errno);
  syncs.add(std::move(file), path);
}

void SnapshotWriter::collect_directories(int directory, PendingSyncs& syncs) const {
  for (const std::string& name : list_directories(directory, location_))
    syncs.add(open_directory_beneath(directory, name, location_), location_ + "/" + name);
}

std::string SnapshotWriter::manifest_path() const { return fmt::format("{}/{}", location_, kManifestName); }

FileDescriptor SnapshotWriter::write_manifest(int directory) const {
  const std::string bytes = encode_manifest(manifest_);
  FileDescriptor file(::openat(directory, std::string(kManifestName).c_str(),
                               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kCommittedMode));
  if (!file) throw disk_error(fmt::format("cannot create {}", manifest_path()), errno);
  disk_->write(file.get(), manifest_path(), bytes);
  return file;
}

void SnapshotWriter::make_visible() {
  const std::string name = std::to_string(*reference_.sequence);
  disk_->rename_new(directory_.descriptor(), partial_name_, name, directory_.path());
  is_first_record_ = false;  // it can be seen: its number is spent, whatever comes
  try {
    disk_->sync(directory_.descriptor(), directory_.path());
  } catch (const Error&) {
    // Visible but perhaps not durable is not a snapshot: it goes back to what can be removed.
    disk_->rename_new(directory_.descriptor(), name, partial_name_, directory_.path());
    throw;
  }
}

void SnapshotWriter::remove_partial() noexcept {
  // Without the lock the directory is another writer's, if it is there at all.
  const std::optional<FileLock> lock = std::exchange(lock_, std::nullopt);
  if (!lock) return;
  try {
    remove_tree(directory_.descriptor(), partial_name_, directory_.path());
    if (is_first_record_) directory_.remove_record();
    directory_.remove_if_unused();
    // Those that others have put something into stay.
    for (const std::string& directory : std::views::reverse(made_around_)) ::rmdir(directory.c_str());
  } catch (const std::exception&) {
    // What stays is a leftover, which the next checkpoint or listing cleans.
    return;
  }
}

}  // namespace crs
