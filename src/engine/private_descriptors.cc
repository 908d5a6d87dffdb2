#include "engine/private_descriptors.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/io.h"
#include "engine/resources/memory/memory.h"

namespace crs::engine {

PrivateDescriptors::PrivateDescriptors(const image::Tree& tree, const Sharing& sharing) {
  // Those that have one descriptor table have their files beside each other's.
  std::vector<int> for_memory(sharing.descriptors().size());
  for (std::size_t i = 0; i < for_memory.size(); ++i) {
    int& next = for_memory[sharing.descriptors_of(i)];
    memory_.push_back(next);
    next += memory_descriptors_needed(tree.processes(static_cast<int>(i)).memory());
  }
  const int for_descriptors = private_descriptors_needed(tree.descriptors());
  needed_ = for_descriptors + std::ranges::max(for_memory);
  all_ = choose_private_numbers(tree.descriptors(), needed_);
  for (int& first : memory_) first += all_.first + for_descriptors;
}

std::optional<Refusal> PrivateDescriptors::lack() const {
  const std::size_t end = static_cast<std::size_t>(all_.first) + static_cast<std::size_t>(needed_);
  if (end <= descriptor_limit()) return std::nullopt;
  return Refusal{fmt::format("a restart needs descriptors up to {} for a while, and no more than {} are allowed here",
                             end - 1, descriptor_limit()),
                 fmt::format("raise the limit of open files to {} or more (ulimit -n, ulimit -Hn)", end)};
}

}  // namespace crs::engine
