// The page data of a snapshot: its extents, divided among the processes of the tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/extents/extent_file.h"

namespace crs::engine {

class PageData {
 public:
  // Reads the index of NAME in `directory`. Throws Damaged also if an extent is of none of `processes`.
  PageData(const std::string& directory, std::string_view name, std::size_t processes);

  const ExtentReader& reader() const noexcept { return reader_; }
  // The numbers of the extents of one process, ascending.
  std::span<const std::size_t> extents_of(std::uint32_t process) const { return extents_.at(process); }

 private:
  ExtentReader reader_;
  std::vector<std::vector<std::size_t>> extents_;
};

}  // namespace crs::engine
