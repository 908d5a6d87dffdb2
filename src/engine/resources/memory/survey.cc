#include "engine/resources/memory/survey.h"

#include <fmt/format.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "engine/resources/memory/file_identity.h"

namespace crs::engine {
namespace {

std::vector<MappedArea> read_areas(pid_t pid, bool writes_tracked) {
  std::vector<MappedArea> areas = read_smaps(pid);
  if (writes_tracked) std::ranges::for_each(areas, &MappedArea::hide_tracking);
  return areas;
}

void read_into(pid_t pid, MemorySurvey& survey) {
  const auto before = std::chrono::steady_clock::now();
  survey.areas = read_areas(pid, survey.writes_tracked);
  survey.since = std::chrono::steady_clock::now();
  survey.took = survey.since - before;
}

// An area that has only grown or shrunk at one end, as stack and heap do, has the flags it had.
bool is_resized(const MapsLine& now, const MappedArea& before) {
  const bool at_start = now.range.start == before.range.start && now.offset == before.offset;
  const bool at_end = now.range.end == before.range.end && now.inode == 0;
  return (at_start || at_end) && now.protection == before.protection && now.shared == before.shared &&
         now.device == before.device && now.inode == before.inode && now.name == before.name;
}

// What smaps says is asked for again only where the survey cannot tell it: it walks through all page tables, and the
// program waits.
std::optional<std::vector<MappedArea>> by_survey(const std::vector<MapsLine>& now, const MemorySurvey& survey) {
  std::vector<MappedArea> areas;
  auto before = survey.areas.begin();
  for (const MapsLine& line : now) {
    before = std::find_if(before, survey.areas.end(),
                          [&](const MappedArea& area) { return line.range.start < area.range.end; });
    if (before == survey.areas.end() || !is_resized(line, *before)) return std::nullopt;
    areas.push_back(*before);
    static_cast<MapsLine&>(areas.back()) = line;
    // One that was divided, or joined with another, is so because its flags have changed.
    ++before;
    if (before != survey.areas.end() && before->range.overlaps(line.range)) return std::nullopt;
  }
  return areas;
}

}  // namespace

std::vector<MappedArea> current_areas(pid_t pid, MemorySurvey& survey) {
  survey.relied_upon = false;
  if (survey.ask_stopped) return read_areas(pid, survey.writes_tracked);
  const std::vector<MapsLine> now = read_maps(pid);
  // How much of shared memory is swapped changes without anyone's doing.
  struct sysinfo system{};
  const bool may_be_swapped = ::sysinfo(&system) != 0 || system.freeswap != system.totalswap;
  const bool shares = std::ranges::any_of(now, is_shared_memory);
  if (!(may_be_swapped && shares)) {
    if (auto areas = by_survey(now, survey)) {
      survey.relied_upon = true;
      return *std::move(areas);
    }
  }
  return read_areas(pid, survey.writes_tracked);
}

MemorySurvey look_at_memory(pid_t pid) {
  return in_context(fmt::format("looking at the memory of process {}", pid), [&] {
    MemorySurvey survey;
    read_into(pid, survey);
    return survey;
  });
}

bool has_same_areas(pid_t pid, const MemorySurvey& survey) {
  return in_context(fmt::format("looking at the memory of process {}", pid),
                    [&] { return by_survey(read_maps(pid), survey).has_value(); });
}

void look_again(pid_t pid, MemorySurvey& survey) { read_into(pid, survey); }

bool has_same_settings(pid_t pid, const MemorySurvey& survey) {
  auto first = survey.areas.begin();
  for (const MappedArea& now : read_areas(pid, survey.writes_tracked)) {
    first = std::find_if(first, survey.areas.end(),
                         [&](const MappedArea& area) { return now.range.start < area.range.end; });
    for (auto before = first; before != survey.areas.end() && before->range.start < now.range.end; ++before) {
      if (now.is_of_same_object(*before) && !now.has_same_settings(*before)) return false;
    }
  }
  return true;
}

}  // namespace crs::engine
