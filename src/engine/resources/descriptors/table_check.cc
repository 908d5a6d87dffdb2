#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <optional>

#include "base/error.h"
#include "engine/resources/descriptors/content_restore.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/descriptors/files/set_aside.h"
#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/locks/locks.h"
#include "engine/resources/descriptors/signal_owner.h"

namespace crs::engine {
namespace {

void check_numbers(const image::Descriptors& image, std::uint32_t processes) {
  std::vector<bool> used(static_cast<std::size_t>(image.descriptions_size()));
  std::pair<std::uint32_t, int> previous{0, -1};
  for (const image::Descriptor& descriptor : image.descriptors()) {
    const std::pair place{descriptor.process(), descriptor.number()};
    const bool possible = place > previous && descriptor.process() < processes && descriptor.number() >= 0 &&
                          descriptor.number() <= kHighestNumber && descriptor.description() < used.size();
    if (!possible)
      fail(ErrorKind::Damaged, "the snapshot's descriptor table cannot be: number {}", descriptor.number());
    previous = place;
    used[descriptor.description()] = true;
  }
  for (const image::OpenDescription& description : image.descriptions()) {
    for (const image::UnixMessage& message : description.unix_socket().messages()) {
      for (const std::uint32_t carried : message.descriptions()) {
        if (carried < used.size()) used[carried] = true;
      }
    }
  }
  if (std::ranges::find(used, false) != used.end())
    fail(ErrorKind::Damaged, "the snapshot has an open file that no descriptor leads to");
}

// The newborn's limit of open files can be raised to this.
std::uint64_t highest_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) fail_errno(errno, "cannot read the limit of open files");
  return limit.rlim_max;
}

void check_limit(const CheckContext& context, const image::Descriptors& image) {
  const auto highest = std::ranges::max_element(image.descriptors(), {}, &image::Descriptor::number);
  if (highest == image.descriptors().end() || static_cast<std::uint64_t>(highest->number()) < highest_limit()) return;
  throw Error(ErrorKind::Failed, fmt::format("{} is open, and no more than {} are allowed here",
                                             name_of(*highest, context.process_ids), highest_limit()))
      .advise(fmt::format("Raise the hard limit of open files to {} or more (ulimit -Hn)", highest->number() + 1));
}

}  // namespace

void check_descriptors(CheckContext& context, const image::Descriptors& image, std::uint32_t processes) {
  check_numbers(image, processes);
  check_limit(context, image);
  TableCheck table{context, image};
  check_content_objects(table);
  check_locks(image);
  const std::vector<std::unique_ptr<Kind>> kinds = make_kinds();
  const std::vector<std::vector<image::Descriptor>> numbers = numbers_by_description(image);
  for (int i = 0; i < image.descriptions_size(); ++i) {
    const image::OpenDescription& description = image.descriptions(i);
    const std::vector<image::Descriptor>& own = numbers[static_cast<std::size_t>(i)];
    const std::string name =
        own.empty() ? "a descriptor on its way through a unix socket" : name_of(own.front(), context.process_ids);
    in_context(name, [&] {
      kind_of(kinds, description).check(table, description);
      check_signal_owner(description, processes);
    });
  }
}

void commit_set_aside(const RestartOptions& options, const image::Descriptors& image, std::vector<std::string>& notes) {
  cut_grown_files(options, image, notes);
}

int private_descriptors_needed(const image::Descriptors& image) {
  // What kinds hold aside while they open: both ends of each pipe, sockets with ends that are closed and sockets
  // that listen for a while, with their nodes, the standard streams and copies of them.
  constexpr int kHeldAside = 64;
  // What each that shares a table may have open for a moment, at whatever number is free.
  constexpr int kOpenOfSharer = 4;
  const auto sockets = std::ranges::count_if(image.descriptions(), [](const image::OpenDescription& description) {
    return description.has_unix_socket() || description.has_inet_socket();
  });
  const auto [first_place, end_of_places] = private_places(image, 0);
  return kOtherPrivateDescriptors + image.objects_size() + (end_of_places - first_place) + 2 * image.pipes_size() +
         4 * static_cast<int>(sockets) + kHeldAside + kOpenOfSharer * image.shared_tables_size();
}

PrivateNumbers choose_private_numbers(const image::Descriptors& image, int count) {
  constexpr int kLowest = 3;
  int candidate = kLowest;
  std::optional<int> gap;
  std::vector<int> numbers;
  for (const image::Descriptor& descriptor : image.descriptors()) numbers.push_back(descriptor.number());
  std::ranges::sort(numbers);
  for (const int number : numbers) {
    if (!gap && number - candidate >= count) gap = candidate;
    candidate = std::max(kLowest, number + 1);
  }
  const bool fits_above = static_cast<std::uint64_t>(candidate) + static_cast<std::uint64_t>(count) <= highest_limit();
  if (fits_above || !gap) return {candidate, std::numeric_limits<int>::max()};
  return {*gap, *gap + count};
}

}  // namespace crs::engine
