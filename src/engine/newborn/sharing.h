// Which processes of an image have another's descriptor table (CLONE_FILES of clone(2)), another's working directory,
// root and umask (CLONE_FS), another's memory (CLONE_VM) or another's signal actions (CLONE_SIGHAND).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/image/process.pb.h"

namespace crs::engine {

class Sharing {
 public:
  // Throws Damaged for what cannot be: who shares has nothing of its own, and shares with an earlier process that has.
  explicit Sharing(const image::Tree& tree);

  // Whether anybody shares a descriptor table or a working directory; anything at all.
  bool any_table() const noexcept { return any_table_; }
  bool any() const noexcept { return any_table_ || any_memory_; }
  // The first process that has the same: the process itself, unless it is one that shares an earlier one's.
  std::size_t descriptors_of(std::size_t process) const { return descriptors_.at(process); }
  std::size_t directories_of(std::size_t process) const { return directories_.at(process); }
  bool is_memory_shared(std::size_t process) const;
  std::size_t memory_of(std::size_t process) const { return memory_.at(process); }
  std::size_t signal_actions_of(std::size_t process) const { return signal_actions_.at(process); }
  const std::vector<std::size_t>& descriptors() const noexcept { return descriptors_; }
  const std::vector<std::size_t>& directories() const noexcept { return directories_; }

 private:
  void set(const image::Tree& tree, std::vector<std::size_t>& owners, std::size_t process, std::size_t owner);

  void find_tables(const image::Tree& tree);
  void find_memory(const image::Tree& tree);

  bool any_table_ = false;
  bool any_memory_ = false;
  std::vector<std::size_t> descriptors_;
  std::vector<std::size_t> directories_;
  std::vector<std::size_t> memory_;
  std::vector<std::size_t> signal_actions_;
};

}  // namespace crs::engine
