#include "engine/pages/page_data.h"

#include "base/error.h"
#include "engine/pages/page_runs.h"

namespace crs::engine {

PageData::PageData(const std::string& directory, std::string_view name, std::size_t processes)
    : reader_(directory, std::string(name)), extents_(processes) {
  for (std::size_t number = 0; number < reader_.extents().size(); ++number) {
    in_context(fmt::format("page data, extent {}", number), [&] {
      const std::uint32_t process = process_of(reader_.extents()[number].tag);
      if (process >= processes) fail(ErrorKind::Damaged, "it is of process {} of {}", process, processes);
      extents_[process].push_back(number);
    });
  }
}

}  // namespace crs::engine
