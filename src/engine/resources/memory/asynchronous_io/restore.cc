#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "engine/resources/memory/address_space.h"
#include "engine/resources/memory/asynchronous_io/asynchronous_io.h"
#include "engine/resources/memory/asynchronous_io/instant_requests.h"
#include "engine/resources/memory/asynchronous_io/ring.h"

namespace crs::engine {
namespace {

// The kernel doubles what is asked for, adds two, and takes whole pages (ioctx_alloc(), aio_setup_ring() in fs/aio.c);
// for each processor at least so much. The fewest that make a ring of `bytes`: they count against fs.aio-max-nr.
std::uint64_t requests_for(std::uint64_t bytes) {
  const std::uint64_t of_smaller = bytes > kPageSize ? slots_in(bytes - kPageSize) : 2;
  return std::max<std::uint64_t>((of_smaller - 2) / 2 + 1, 1);
}

RemoteAddress make_context(RemoteCaller& remote, std::uint64_t bytes) {
  const RemoteAddress result = remote.put(std::uint64_t{0});
  const std::int64_t made = remote.raw_call(SYS_io_setup, {requests_for(bytes), result.value});
  if (made == -EAGAIN) {
    throw Error(ErrorKind::Failed, "io_setup: this system has too many requests of asynchronous I/O")
        .advise("Raise /proc/sys/fs/aio-max-nr");
  }
  if (made < 0) fail_errno(static_cast<int>(-made), "io_setup");
  const RemoteAddress context{remote.get<std::uint64_t>()};
  const auto header = remote.memory().read_value<RingHeader>(context);
  if (header.slots != slots_in(bytes)) {
    fail(ErrorKind::Failed, "io_setup: this machine's rings have {} places where the program's had {}", header.slots,
         slots_in(bytes));
  }
  return context;
}

}  // namespace

void validate_asynchronous_io(const image::Area& area, const image::AsynchronousIo& image) {
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 29;
  const std::uint64_t bytes = range_of(area).size();
  if (bytes > kLargest || image.answers().size() % sizeof(io_event) != 0 ||
      image.answers().size() / sizeof(io_event) >= slots_in(bytes))
    fail(ErrorKind::Damaged, "the image's asynchronous I/O context at {:#x} cannot be", area.start());
}

void restore_asynchronous_io(RemoteCaller& remote, const image::Area& area, const image::AsynchronousIo& image) {
  const RemoteRange range = range_of(area);
  const RemoteAddress made = make_context(remote, range.size());
  remote.call("mremap of a ring of asynchronous I/O", SYS_mremap, made, range.size(), range.size(),
              MREMAP_MAYMOVE | MREMAP_FIXED, range.start);
  std::vector<io_event> answers(image.answers().size() / sizeof(io_event));
  if (answers.empty()) return;
  std::memcpy(answers.data(), image.answers().data(), answers.size() * sizeof(io_event));
  InstantRequests requests(remote, range.start, answers.size());
  requests.make(answers.size());
  Ring(remote.memory(), range).replace(answers, [&](const io_event& event) { return requests.answered_by(event); });
}

}  // namespace crs::engine
