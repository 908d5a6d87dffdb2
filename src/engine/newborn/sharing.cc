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

}  // namespace

Sharing::Sharing(const image::Tree& tree)
    : descriptors_(static_cast<std::size_t>(tree.processes_size())), directories_(descriptors_.size()) {
  std::iota(descriptors_.begin(), descriptors_.end(), std::size_t{0});
  std::iota(directories_.begin(), directories_.end(), std::size_t{0});
  std::uint32_t last = 0;
  for (const image::SharedTable& table : tree.descriptors().shared_tables()) {
    if (table.process() <= last) fail(ErrorKind::Damaged, "the snapshot's shared descriptor tables are in no order");
    last = table.process();
    set(tree, descriptors_, table.process(), table.owner());
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
    if (has_own_directories(attributes))
      fail(ErrorKind::Damaged, "process {} shares another's working directory and has one of its own",
           tree.processes(i).pid());
  }
}

// In the order of the processes: whether `owner` shares a table itself is known by then.
void Sharing::set(const image::Tree& tree, std::vector<std::size_t>& owners, std::size_t process, std::size_t owner) {
  const bool possible = process < owners.size() && owner < process && owners[process] == process &&
                        owners[owner] == owner && !tree.processes(static_cast<int>(process)).zombie() &&
                        !tree.processes(static_cast<int>(owner)).zombie();
  if (!possible)
    fail(ErrorKind::Damaged, "the snapshot's process {} cannot share anything with process {}", process, owner);
  owners[process] = owner;
  any_ = true;
}

}  // namespace crs::engine
