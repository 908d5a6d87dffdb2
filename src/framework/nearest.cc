#include "framework/nearest.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace crs {

std::size_t edit_distance(std::string_view left, std::string_view right) {
  // One row of the usual table at a time: row[j] is the distance between what was taken of `left` and the first j bytes
  // of `right`.
  std::vector<std::size_t> row(right.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < left.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < right.size(); ++j) {
      const std::size_t replaced = diagonal + (left[i] == right[j] ? 0U : 1U);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  const auto nearest = std::ranges::min_element(
      candidates, {}, [&](const std::string& candidate) { return edit_distance(name, candidate); });
  return nearest == candidates.end() ? "" : *nearest;
}

std::string meant_name(std::string_view name, std::span<const std::string> candidates) {
  const std::string nearest = nearest_name(name, candidates);
  const std::size_t tolerated = std::max<std::size_t>(2, std::max(name.size(), nearest.size()) / 2);
  return edit_distance(name, nearest) <= tolerated ? nearest : "";
}

std::string advice_on_parameter(std::string_view name, std::span<const std::string> known) {
  return fmt::format("The nearest one is '{}'; 'crs params' lists all", nearest_name(name, known));
}

}  // namespace crs
