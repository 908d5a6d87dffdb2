#include "engine/resources/memory/shared_objects.h"

#include <algorithm>
#include <iterator>

namespace crs::engine {

PageRuns SharedObjects::Object::take_unsaved(RemoteRange run, const MapsLine& area) {
  PageRuns parts;
  const std::uint64_t first = area.offset + (run.start - area.range.start);
  const std::uint64_t last = first + run.size();
  for (std::uint64_t position = first; position < last;) {
    auto next = saved_parts.upper_bound(position);
    if (next != saved_parts.begin() && std::prev(next)->second > position) {
      position = std::prev(next)->second;
      continue;
    }
    const std::uint64_t end = next == saved_parts.end() ? last : std::min(last, next->first);
    const RemoteAddress start = area.range.start + (position - area.offset);
    append_run(parts, {start, start + (end - position)});
    saved_parts[position] = end;
    position = end;
  }
  return parts;
}

const SharedObjects::View& SharedObjects::Object::lowest() const {
  return *std::ranges::min_element(views, {}, [](const View& view) { return view.area.offset; });
}

std::vector<SharedObjects::Offsets> SharedObjects::Object::unmapped() const {
  std::vector<Offsets> shown;
  for (const View& view : views) shown.push_back({view.area.offset, view.end()});
  std::ranges::sort(shown, {}, &Offsets::start);
  std::vector<Offsets> found;
  std::uint64_t position = shown.empty() ? *size : shown.front().start;
  for (const Offsets& part : shown) {
    if (part.start > position) found.push_back({position, part.start});
    position = std::max(position, part.end);
  }
  if (position < *size) found.push_back({position, *size});
  return found;
}

bool SharedObjects::Object::may_have_more() const {
  std::uint64_t saved = 0;
  for (const auto& [start, end] : saved_parts) saved += end - start;
  return saved < *size && (!huge->existing || saved < *huge->existing);
}

std::map<pid_t, std::vector<SharedObjects::Object*>> SharedObjects::partly_unmapped() {
  std::map<pid_t, std::vector<Object*>> found;
  for (auto& [key, object] : objects_) {
    const bool is_partly = object.huge ? object.may_have_more() : object.size && !object.unmapped().empty();
    if (is_partly) found[object.lowest().pid].push_back(&object);
  }
  return found;
}

}  // namespace crs::engine
