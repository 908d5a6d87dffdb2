#include "engine/newborn/sharing.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace crs::engine {
namespace {

bool has_own_directories(const image::Attributes& attributes) {
  return !attributes.working_directory().empty() || !attributes.root().empty() || attributes.umask() != 0 ||
         attributes.has_removed_working_directory();
}

bool has_own_memory(const image::Memory& memory) {
  image::Memory nothing;
  nothing.set_same_as(memory.same_as());
  return memory.ByteSizeLong() != nothing.ByteSizeLong();
}

}  // namespace

Sharing::Sharing(const image::Tree& tree) {
  for (std::vector<std::size_t>* const owners : {&descriptors_, &directories_, &memory_, &signal_actions_}) {
    owners->resize(static_cast<std::size_t>(tree.processes_size()));
    std::iota(owners->begin(), owners->end(), std::size_t{0});
  }
  find_tables(tree);
  find_memory(tree);
}

void Sharing::find_tables(const image::Tree& tree) {
  std::uint32_t last = 0;
  for (const image::SharedTable& table : tree.descriptors().shared_tables()) {
    if (table.process() <= last) fail(ErrorKind::Damaged, "the snapshot's shared descriptor tables are in no order");
    last = table.process();
    set(tree, descriptors_, table.process(), table.owner());
    any_table_ = true;
  }
  for (const image::Descriptor& descriptor : tree.descriptors().descriptors()) {
    const std::size_t process = descriptor.process();  // checked with the descriptors
    if (process < descriptors_.size() && descriptors_[process] != process)
      fail(ErrorKind::Damaged, "a process that shares another's descriptor table has descriptor {}",
           descriptor.number());
  }
  for (int i = 0; i < tree.processes_size(); ++i) {
    const image::Attributes& attributes = tree.processes(i).attributes();
    if (!attributes.has_directories_of()) continue;
    set(tree, directories_, static_cast<std::size_t>(i), attributes.directories_of());
    any_table_ = true;
    if (has_own_directories(attributes))
      fail(ErrorKind::Damaged, "process {} shares another's working directory and has one of its own",
           tree.processes(i).pid());
  }
}

void Sharing::find_memory(const image::Tree& tree) {
  for (int i = 0; i < tree.processes_size(); ++i) {
    const image::Process& process = tree.processes(i);
    const auto index = static_cast<std::size_t>(i);
    if (process.memory().has_same_as()) {
      set(tree, memory_, index, process.memory().same_as());
      any_memory_ = true;
      if (has_own_memory(process.memory()))
        fail(ErrorKind::Damaged, "process {} shares another's memory and has some of its own", process.pid());
    }
    if (!process.signals().has_actions_of()) continue;
    set(tree, signal_actions_, index, process.signals().actions_of());
    // clone(2): CLONE_SIGHAND takes CLONE_VM.
    if (!process.signals().actions().empty() || memory_[index] != memory_[signal_actions_[index]])
      fail(ErrorKind::Damaged, "process {} shares another's signal actions, which it cannot", process.pid());
  }
}

bool Sharing::is_memory_shared(std::size_t process) const {
  return std::ranges::count(memory_, memory_.at(process)) > 1;
}

// In the order of the processes: whether `owner` shares a table itself is known by then.
void Sharing::set(const image::Tree& tree, std::vector<std::size_t>& owners, std::size_t process, std::size_t owner) {
  const bool possible = process < owners.size() && owner < process && owners[process] == process &&
                        owners[owner] == owner && !tree.processes(static_cast<int>(process)).zombie() &&
                        !tree.processes(static_cast<int>(owner)).zombie();
  if (!possible)
    fail(ErrorKind::Damaged, "the snapshot's process {} cannot share anything with process {}", process, owner);
  owners[process] = owner;
}

}  // namespace crs::engine
