#include "engine/resources/descriptors/eventfds/eventfds.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

#include "base/error.h"

namespace crs::engine {

bool EventfdKind::recognises(const TableCapture& /*table*/, const Seen& seen) { return seen.is_anonymous("[eventfd]"); }

void EventfdKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  image::Eventfd& eventfd = *description.mutable_eventfd();
  eventfd.set_count(seen.info.number("eventfd-count", 16));
  if (const auto semaphore = seen.info.find("eventfd-semaphore")) {
    eventfd.set_semaphore(parse_number(*semaphore).value_or(0) != 0);
    return;
  }
  // Kernels before 6.5 do not show it, and asking by a read would change the count.
  table.context.warnings.push_back(
      fmt::format("{} is an eventfd, and this kernel does not tell whether it is a semaphore (EFD_SEMAPHORE): it comes "
                  "back as one that "
                  "is not",
                  table.name_of(seen)));
}

void EventfdKind::check(TableCheck& /*table*/, const Description& description) {
  if (description.eventfd().count() == std::numeric_limits<std::uint64_t>::max()) {
    fail(ErrorKind::Damaged, "the snapshot has an eventfd with a count that cannot be");
  }
}

FileDescriptor EventfdKind::open(TableRestore& /*table*/, const Description& description) {
  const image::Eventfd& eventfd = description.eventfd();
  FileDescriptor opened(::eventfd(0, EFD_NONBLOCK | (eventfd.semaphore() ? EFD_SEMAPHORE : 0)));
  if (!opened) fail_errno(errno, "cannot make an eventfd");
  const std::uint64_t count = eventfd.count();
  if (count != 0 && ::write(opened.get(), &count, sizeof count) != sizeof count) {
    fail_errno(errno, "cannot set an eventfd to {}", count);
  }
  return opened;
}

}  // namespace crs::engine
