#include "engine/tracking/incremental.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "engine/pages/write_tracker.h"
#include "engine/resources/memory/memory.h"

namespace crs::engine {
namespace {

// The files of a row of snapshots hold ever more that no snapshot uses any more: beyond this a full one is cheaper.
constexpr std::uint64_t kMostTimesStored = 3;
constexpr std::uint64_t kAlwaysAllowed = std::uint64_t{64} << 20;

std::uint64_t size_of(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) fail_errno(errno, "cannot look at {}", path);
  return static_cast<std::uint64_t>(status.st_size);
}

// STORE/JOB/NAME of the other jobs, as `path` is of this one.
std::vector<std::string> trackings_of_other_jobs(const std::filesystem::path& path) {
  std::vector<std::string> found;
  std::error_code problem;
  std::filesystem::directory_iterator jobs(path.parent_path().parent_path(), problem);
  for (; !problem && jobs != std::filesystem::directory_iterator(); jobs.increment(problem)) {
    const std::filesystem::path other = jobs->path() / path.filename();
    std::error_code missing;
    if (other != path && std::filesystem::exists(other, missing)) found.push_back(other);
  }
  return found;
}

void end_tracking(std::optional<Tracking> tracking) {
  if (!tracking) return;
  for (TrackedProcess& process : tracking->processes)
    const WriteTracker ended(process.pid, std::move(process.userfault), std::move(process.areas));
}

bool is_marked(const std::vector<MappedArea>& areas) {
  return std::ranges::any_of(areas, [](const MappedArea& area) { return area.has("uw"); });
}

bool holds_too_much_else(const ExtentReader& reader) {
  std::set<std::uint64_t> sources;
  std::uint64_t used = 0;
  for (const Extent& extent : reader.extents()) {
    sources.insert(extent.source);
    used += total_bytes(decode_pages(extent.tag, extent.payload_bytes).runs);
  }
  std::uint64_t stored = 0;
  for (const std::uint64_t source : sources) stored += size_of(reader.data_path(source));
  return stored > used * kMostTimesStored + kAlwaysAllowed;
}

}  // namespace

std::uint64_t sequence_of(const std::string& location) {
  std::uint64_t sequence = 0;
  const char* const end = location.data() + location.size();
  const auto [stop, problem] = std::from_chars(location.data() + location.rfind('/') + 1, end, sequence);
  if (problem != std::errc{} || stop != end || sequence == 0)
    fail(ErrorKind::Failed, "{} is no snapshot's directory", location);
  return sequence;
}

std::string path_of_tracking(const std::string& remembered_path) {
  return remembered_path.empty() ? "" : remembered_path + "-writes";
}

Incremental::Incremental(pid_t pid, const CheckpointOptions& options)
    : options_(options), path_(path_of_tracking(options.remembered_path)) {
  before_ = take_tracking(path_);
  // A program under two names: no memory can be tracked twice.
  for (const std::string& other : trackings_of_other_jobs(path_)) {
    if (is_tracked(other, pid)) end_tracking(take_tracking(other));
  }
  if (!options_.incremental) end_tracking(std::exchange(before_, std::nullopt));
}

Incremental::Incremental(const CheckpointOptions& options, OnlyLooks)
    : options_(options), path_(path_of_tracking(options.remembered_path)), only_looks_(true) {}

Incremental::~Incremental() {
  try {
    end_tracking(std::move(after_));
  } catch (const std::exception&) {  // the program has ended
  }
}

bool Incremental::hide_tracking(pid_t pid, std::vector<MappedArea>& areas) const {
  if (only_looks_) return hide_all_tracking(pid, areas);
  if (!before_) return false;
  const auto tracked = std::ranges::find(before_->processes, pid, &TrackedProcess::pid);
  if (tracked == before_->processes.end()) return false;
  for (MappedArea& area : areas) {
    if (!common_parts(area.range, tracked->areas).empty()) area.hide_tracking();
  }
  return false;
}

bool Incremental::end_tracking_elsewhere(pid_t pid, const std::vector<MappedArea>& areas) const {
  return !only_looks_ && is_marked(areas) && end_keepers_of(pid);
}

bool Incremental::hide_all_tracking(pid_t pid, std::vector<MappedArea>& areas) const {
  const std::vector<std::string> others = trackings_of_other_jobs(path_);
  const bool tracked = is_tracked(path_, pid) ||
                       std::ranges::any_of(others, [&](const std::string& other) { return is_tracked(other, pid); }) ||
                       (is_marked(areas) && is_kept(pid));
  if (tracked) std::ranges::for_each(areas, &MappedArea::hide_tracking);
  return tracked;
}

EarlierPages Incremental::open_earlier() const {
  const std::string location = options_.earlier ? options_.earlier(before_->sequence) : "";
  if (location.empty()) fail(ErrorKind::NotFound, "the snapshot before, number {}, is not there", before_->sequence);
  // It may be another one than that which was asked for: one written anew.
  EarlierPages earlier{.sequence = sequence_of(location), .reader = {}, .extents = {}};
  earlier.reader = std::make_shared<const ExtentReader>(location, kPagesName);
  if (holds_too_much_else(*earlier.reader))
    fail(ErrorKind::Failed, "the files of the snapshots before hold much that none uses any more");
  return earlier;
}

bool Incremental::continue_from_earlier(pid_t pid, ProcessPages& pages, std::vector<std::string>& warnings) {
  TrackedProcess* const tracked = before_ ? before_->find(pid) : nullptr;
  if (tracked == nullptr) return false;
  try {
    if (!earlier_) {
      earlier_ = open_earlier();
      const std::vector<Extent>& extents = earlier_->reader->extents();
      for (std::size_t i = 0; i < extents.size(); ++i) earlier_extents_[process_of(extents[i].tag)].push_back(i);
    }
    EarlierPages earlier = *earlier_;
    earlier.extents = earlier_extents_[tracked->index];
    pages.continue_from(std::move(earlier), std::move(*tracked));
    return true;
  } catch (const Error& error) {
    warnings.push_back(fmt::format("everything was written, not only what has changed: {}", error.what()));
    give_up_earlier(pid);
    return false;
  }
}

void Incremental::give_up_earlier(pid_t pid) {
  TrackedProcess* const tracked = before_ ? before_->find(pid) : nullptr;
  if (tracked == nullptr || !tracked->userfault) return;
  const WriteTracker ended(pid, std::move(tracked->userfault), std::move(tracked->areas));
}

SavedPages Incremental::finish(pid_t pid, std::uint32_t index, ProcessPages& pages) {
  const bool goes_on = options_.incremental && options_.after != AfterCheckpoint::Kill;
  TrackedProcess tracked{.pid = pid, .index = index, .userfault = {}, .areas = {}};
  SavedPages saved = pages.finish(goes_on ? &tracked : nullptr);
  if (pages.uses_earlier()) parent_sequence_ = earlier_->sequence;
  if (tracked.userfault) after_.processes.push_back(std::move(tracked));
  return saved;
}

void Incremental::keep() noexcept {
  if (after_.processes.empty() || path_.empty() || options_.sequence == 0) return;
  try {
    after_.sequence = options_.sequence;
    keep_tracking(path_, std::exchange(after_, {}));
  } catch (const std::exception&) {  // the store is full, or the program has ended
  }
}

}  // namespace crs::engine
