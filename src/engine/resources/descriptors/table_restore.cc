#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "engine/resources/descriptors/content_restore.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/locks/locks.h"
#include "engine/resources/descriptors/signal_owner.h"

namespace crs::engine {
namespace {

// The flags that F_SETFL sets, besides O_ASYNC (fcntl(2)).
constexpr std::uint32_t kSettableFlags = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;

void set_flags(int descriptor, std::uint32_t wanted) {
  const int current = ::fcntl(descriptor, F_GETFL);
  if (current < 0) fail_errno(errno, "cannot read the flags of descriptor {}", descriptor);
  if (((static_cast<std::uint32_t>(current) ^ wanted) & kSettableFlags) == 0) return;
  if (::fcntl(descriptor, F_SETFL, wanted & kSettableFlags) != 0)
    fail_errno(errno, "cannot set the flags of descriptor {}", descriptor);
}

// Puts `opened` at all its numbers. It has the lowest number that was free: one of them, or one that is still to be
// given to another.
void place(FileDescriptor opened, const std::vector<image::Descriptor>& numbers) {
  for (const image::Descriptor& descriptor : numbers) {
    const bool in_place = descriptor.number() == opened.get();
    const int placed = in_place ? ::fcntl(opened.get(), F_SETFD, descriptor.close_on_exec() ? FD_CLOEXEC : 0)
                                : ::dup3(opened.get(), descriptor.number(), descriptor.close_on_exec() ? O_CLOEXEC : 0);
    if (placed < 0) fail_errno(errno, "cannot put a file at descriptor {}", descriptor.number());
  }
  const bool stays = std::ranges::any_of(
      numbers, [&](const image::Descriptor& descriptor) { return descriptor.number() == opened.get(); });
  if (stays) static_cast<void>(opened.release());
}

void restore_description(TableRestore& table, Kind& kind, const image::OpenDescription& description,
                         const std::vector<image::Descriptor>& numbers) {
  FileDescriptor opened = kind.open(table, description);
  if (!opened) fail(ErrorKind::Failed, "no file could be opened");
  if (!kind.is_callers() && (description.status_flags() & O_PATH) == 0)
    set_flags(opened.get(), description.status_flags());
  place(std::move(opened), numbers);
}

// What no number leads to is held at a private one until the program runs.
image::Descriptor in_flight_number(int number) {
  image::Descriptor descriptor;
  descriptor.set_number(number);
  descriptor.set_close_on_exec(true);
  return descriptor;
}

}  // namespace

TableRestore::TableRestore(NewbornContext& newborn, const image::Descriptors& descriptors)
    : context(newborn),
      image(descriptors),
      lowest_aside_(numbers_in_flight(image, context.first_private_descriptor).second) {
  for (std::size_t stream = 0; stream < streams_.size(); ++stream) {
    const int given = context.standard_streams.at(stream);
    if (given < 0) continue;
    FileDescriptor copy(::dup(given));
    if (!copy) fail_errno(errno, "cannot take over standard stream {}", stream);
    streams_.at(stream) = aside(std::move(copy));
  }
  if (context.options.channel >= 0) channel_ = aside(FileDescriptor(::dup(context.options.channel)));
}

FileDescriptor TableRestore::aside(FileDescriptor descriptor) const {
  if (!descriptor) fail_errno(errno, "cannot duplicate a descriptor");
  FileDescriptor moved(::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, lowest_aside_));
  if (!moved) fail_errno(errno, "cannot move a descriptor to {} or above", lowest_aside_);
  return moved;
}

int TableRestore::object(std::uint32_t index) const {
  return content_object_descriptor(context.first_private_descriptor, index);
}

void restore_descriptors_inside(NewbornContext& context, const image::Descriptors& image) {
  TableRestore table(context, image);
  const std::vector<std::unique_ptr<Kind>> kinds = make_kinds();
  const std::vector<std::vector<image::Descriptor>> numbers = numbers_by_description(image);
  const bool closed = ::close_range(0, static_cast<unsigned>(context.first_private_descriptor) - 1, 0) == 0 &&
                      ::close_range(static_cast<unsigned>(context.end_private_descriptor), ~0U, 0) == 0;
  if (!closed) fail_errno(errno, "cannot close descriptors");
  make_content_objects(context, image);
  const std::vector<int> number_of = number_of_each(image, context.first_private_descriptor);
  table.set_numbers(number_of);

  const auto for_each = [&](auto&& action) {
    for (int i = 0; i < image.descriptions_size(); ++i) {
      const image::OpenDescription& description = image.descriptions(i);
      const auto place = static_cast<std::size_t>(i);
      std::vector<image::Descriptor> own = numbers[place];
      if (own.empty()) own.push_back(in_flight_number(number_of[place]));
      in_context(fmt::format("descriptor {}", own.front().number()),
                 [&] { action(kind_of(kinds, description), description, own); });
    }
  };
  for_each([&](Kind& kind, const auto& description, const auto& own) {
    restore_description(table, kind, description, own);
  });
  for (const std::unique_ptr<Kind>& kind : kinds) kind->complete(table);
  for_each([&](Kind& kind, const auto& description, const auto& own) {
    kind.connect(table, description, own.front().number());
  });
  for_each([&](Kind& kind, const auto& description, const auto& own) {
    if (!kind.is_callers()) restore_signal_owner(own.front().number(), description);
  });
  finish_content_objects(context, image);
}

void activate_descriptors(RestoreContext& context, const image::Descriptors& image) {
  seal_content_objects(context, image);
  TableActivation table{context, image};
  take_locks(table);
  const std::vector<std::unique_ptr<Kind>> kinds = make_kinds();
  const std::vector<int> numbers = number_of_each(image, context.first_private_descriptor);
  for (int i = 0; i < image.descriptions_size(); ++i) {
    const image::OpenDescription& description = image.descriptions(i);
    const int number = numbers[static_cast<std::size_t>(i)];
    in_context(fmt::format("descriptor {}", number), [&] {
      Kind& kind = kind_of(kinds, description);
      kind.activate(table, description, number);
      if (!kind.is_callers()) activate_signal_owner(context, number, description);
    });
  }
  const auto [first, end] = numbers_in_flight(image, context.first_private_descriptor);
  if (first != end) context.remote.call("close_range", SYS_close_range, first, end - 1, 0);
}

}  // namespace crs::engine
