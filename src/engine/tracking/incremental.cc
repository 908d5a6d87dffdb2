#include "engine/tracking/incremental.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <system_error>

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

Incremental::Incremental(const CheckpointOptions& options)
    : options_(options), path_(path_of_tracking(options.remembered_path)) {
  before_ = take_tracking(path_);
  if (!before_ || options_.incremental) return;
  for (TrackedProcess& process : before_->processes)
    const WriteTracker ended(process.pid, std::move(process.userfault), std::move(process.areas));
  before_.reset();
}

void Incremental::hide_tracking(pid_t pid, std::vector<MappedArea>& areas) const {
  if (!before_) return;
  const auto tracked = std::ranges::find(before_->processes, pid, &TrackedProcess::pid);
  if (tracked == before_->processes.end()) return;
  for (MappedArea& area : areas) {
    const std::size_t flag = area.flags.find(" uw ");
    if (flag != std::string::npos && !common_parts(area.range, tracked->areas).empty()) area.flags.erase(flag, 3);
  }
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
    if (tracked->userfault) const WriteTracker ended(pid, std::move(tracked->userfault), std::move(tracked->areas));
    return false;
  }
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
    keep_tracking(path_, std::move(after_));
  } catch (const std::exception&) {  // the store is full, or the program has ended
  }
}

}  // namespace crs::engine
