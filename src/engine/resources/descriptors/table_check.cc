#include <algorithm>

#include "base/error.h"
#include "engine/resources/descriptors/content_restore.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/descriptors/files/set_aside.h"
#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/locks/locks.h"
#include "engine/resources/descriptors/signal_owner.h"

namespace crs::engine {
namespace {

void check_numbers(const image::Descriptors& image) {
  std::vector<bool> used(static_cast<std::size_t>(image.descriptions_size()));
  int previous = -1;
  for (const image::Descriptor& descriptor : image.descriptors()) {
    const bool possible = descriptor.number() > previous && descriptor.number() <= kHighestNumber &&
                          descriptor.description() < used.size();
    if (!possible)
      fail(ErrorKind::Damaged, "the snapshot's descriptor table cannot be: number {}", descriptor.number());
    previous = descriptor.number();
    used[descriptor.description()] = true;
  }
  if (std::ranges::find(used, false) != used.end())
    fail(ErrorKind::Damaged, "the snapshot has an open file that no descriptor leads to");
}

}  // namespace

void check_descriptors(CheckContext& context, const image::Descriptors& image) {
  check_numbers(image);
  TableCheck table{context, image};
  check_content_objects(table);
  check_locks(image);
  const std::vector<std::unique_ptr<Kind>> kinds = make_kinds();
  const std::vector<std::vector<image::Descriptor>> numbers = numbers_by_description(image);
  for (int i = 0; i < image.descriptions_size(); ++i) {
    const image::OpenDescription& description = image.descriptions(i);
    in_context(fmt::format("descriptor {}", numbers[static_cast<std::size_t>(i)].front().number()), [&] {
      kind_of(kinds, description).check(table, description);
      check_signal_owner(description);
    });
  }
}

void commit_set_aside(const RestartOptions& options, const image::Descriptors& image, std::vector<std::string>& notes) {
  cut_grown_files(options, image, notes);
}

int highest_descriptor(const image::Descriptors& image) {
  if (image.descriptors().empty()) return 2;
  return std::max(2, image.descriptors(image.descriptors_size() - 1).number());
}

int private_descriptors_needed(const image::Descriptors& image) {
  // What kinds hold aside while they open: both ends of each pipe, the standard streams and copies of them.
  constexpr int kHeldAside = 64;
  return kOtherPrivateDescriptors + image.objects_size() + 2 * image.pipes_size() + kHeldAside;
}

}  // namespace crs::engine
