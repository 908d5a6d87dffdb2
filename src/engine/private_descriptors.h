// The numbers of the descriptors that the newborns of a restart have beside the program's, until all is in place.
#pragma once

#include <optional>
#include <vector>

#include "engine/image/process.pb.h"
#include "engine/newborn/sharing.h"
#include "engine/resources/context.h"
#include "engine/resources/descriptors/descriptors.h"

namespace crs::engine {

// None is one of the program's.
class PrivateDescriptors {
 public:
  PrivateDescriptors(const image::Tree& tree, const Sharing& sharing);

  // First the channel and the descriptors room's own ...
  const PrivateNumbers& all() const noexcept { return all_; }
  // ... then files to be mapped: where those of process `index` begin.
  int of_memory(std::size_t index) const { return memory_.at(index); }

  // What is in the way of a process like this one, whose limit has been raised, having them.
  std::optional<Refusal> lack() const;

 private:
  PrivateNumbers all_;
  std::vector<int> memory_;
  int needed_;
};

}  // namespace crs::engine
