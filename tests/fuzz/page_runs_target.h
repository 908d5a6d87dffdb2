// What must hold for every tag of an extent of page data: it is refused as damaged, or it is a list of ranges that
// PageRuns allows and that is encoded and read again as the same.
#pragma once

#include <cstdlib>
#include <string_view>

#include "crs/error.hpp"
#include "engine/pages/page_runs.h"

namespace crs {

// Ends the process if `tag` breaks the rule.
inline void exercise_page_runs_reader(std::string_view tag) {
  using engine::kPageSize;
  try {
    const engine::PageRuns runs = engine::decode_runs(tag);
    std::uint64_t end = 0;
    for (const engine::RemoteRange& run : runs) {
      const bool on_pages = run.start.value % kPageSize == 0 && run.end.value % kPageSize == 0;
      if (!on_pages || run.start.value < end || run.end.value <= run.start.value || (run.end.value >> 63) > 1)
        std::abort();
      end = run.end.value;
    }
    const engine::PageRuns again = engine::decode_runs(engine::encode_runs(runs));
    if (engine::total_bytes(again) != engine::total_bytes(runs) || again.size() != runs.size()) std::abort();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Damaged) std::abort();
  }
}

}  // namespace crs
