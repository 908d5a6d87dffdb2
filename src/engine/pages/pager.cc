#include "engine/pages/pager.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"

namespace crs::engine {
namespace {

constexpr std::chrono::hours kLongestWait(1);  // poll(2) counts milliseconds in an int

}  // namespace

Pager::Pager(FileDescriptor userfault, std::span<const RemoteRange> ranges, const PageLoader& loader,
             std::vector<std::size_t> extents, std::uint64_t bytes_per_second)
    : loader_(loader),
      extents_(std::move(extents)),
      bytes_per_second_(bytes_per_second),
      loaded_(loader.extents(), true) {
  for (const std::size_t extent : extents_) {
    loaded_[extent] = false;
    for (const RemoteRange& run : loader_.runs(extent)) places_.push_back({run, extent});
  }
  std::ranges::sort(places_, {}, [](const Place& place) { return place.run.start; });
  spaces_.emplace_back(std::move(userfault), ranges);
}

void Pager::wait_for(int descriptor) {
  while (!spaces_.empty()) {
    std::vector<pollfd> waiting = polled();
    waiting.push_back({descriptor, POLLIN, 0});
    if (::poll(waiting.data(), waiting.size(), -1) > 0 && waiting.back().revents != 0) return;
    take_events();
  }
}

void Pager::run() {
  for (const std::size_t extent : extents_) {
    take_events();
    if (!loaded_[extent]) wait_for_turn(extent);
    if (spaces_.empty()) return;
    load(extent);
  }
}

// What is touched meanwhile comes at once.
void Pager::wait_for_turn(std::size_t extent) {
  if (bytes_per_second_ == 0) return;
  for (Clock::time_point now = Clock::now(); now < turn_ && !spaces_.empty(); now = Clock::now()) {
    if (wait_for_event(turn_ - now)) take_events();
  }
  const std::chrono::duration<double> cost(static_cast<double>(total_bytes(loader_.runs(extent))) /
                                           static_cast<double>(bytes_per_second_));
  turn_ = std::max(turn_, Clock::now()) + std::chrono::duration_cast<Clock::duration>(cost);
}

std::vector<pollfd> Pager::polled() const {
  std::vector<pollfd> polled;
  for (const LazySpace& space : spaces_) polled.push_back({space.descriptor(), POLLIN, 0});
  return polled;
}

bool Pager::wait_for_event(Clock::duration limit) const {
  std::vector<pollfd> polled = this->polled();
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(std::min<Clock::duration>(limit, kLongestWait));
  return ::poll(polled.data(), polled.size(), static_cast<int>(left.count())) > 0;
}

const Pager::Place* Pager::place_of(RemoteAddress origin) const {
  const auto behind = std::ranges::upper_bound(places_, origin, {}, [](const Place& place) { return place.run.start; });
  if (behind == places_.begin() || origin >= std::prev(behind)->run.end) return nullptr;
  return &*std::prev(behind);
}

void Pager::load(std::size_t extent) {
  if (loaded_[extent]) return;
  const std::span<const std::byte> payload = loader_.read(extent, buffer_);
  // What an event changes has to be looked at again from the start; what has come already stays.
  while (!put_everywhere(extent, payload)) take_events();
  loaded_[extent] = true;
}

// False: events wait.
bool Pager::put_everywhere(std::size_t extent, std::span<const std::byte> payload) {
  for (auto space = spaces_.begin(); space != spaces_.end();) {
    LazySpace::Put result = LazySpace::Put::Done;
    std::size_t done = 0;
    for (const RemoteRange& run : loader_.runs(extent)) {
      result = space->put(run, payload.subspan(done, run.size()));
      if (result != LazySpace::Put::Done) break;
      done += run.size();
    }
    if (result == LazySpace::Put::Again) return false;
    space = result == LazySpace::Put::Gone ? spaces_.erase(space) : std::next(space);
  }
  return true;
}

// All events that wait, then the faults: an answer needs what the events say.
void Pager::take_events() {
  do {
    for (auto space = spaces_.begin(); space != spaces_.end(); ++space) {
      while (take_event(space)) {
      }
    }
    for (const Fault& fault : std::exchange(faults_, {})) {
      const auto space = std::ranges::find(spaces_, fault.descriptor, &LazySpace::descriptor);
      if (space != spaces_.end()) handle_fault(*space, fault.page);
    }
  } while (!faults_.empty());
}

// False: there is none.
bool Pager::take_event(Spaces::iterator space) {
  uffd_msg event{};
  const ssize_t got = ::read(space->descriptor(), &event, sizeof event);
  if (got != sizeof event) return false;
  switch (event.event) {
    case UFFD_EVENT_PAGEFAULT:
      faults_.push_back({space->descriptor(), {event.arg.pagefault.address / kPageSize * kPageSize}});
      break;
    case UFFD_EVENT_FORK:
      spaces_.push_back(space->forked(FileDescriptor(static_cast<int>(event.arg.fork.ufd))));
      break;
    case UFFD_EVENT_REMAP:
      space->moved({event.arg.remap.from}, {event.arg.remap.to}, event.arg.remap.len);
      break;
    case UFFD_EVENT_REMOVE:
    case UFFD_EVENT_UNMAP:
      space->removed({{event.arg.remove.start}, {event.arg.remove.end}});
      break;
    default:
      fail(ErrorKind::Failed, "the kernel reports an unknown event {} (userfaultfd)", event.event);
  }
  return true;
}

void Pager::handle_fault(const LazySpace& space, RemoteAddress page) {
  const int descriptor = space.descriptor();
  const auto origin = space.origin_of(page);
  const Place* const place = origin ? place_of(*origin) : nullptr;
  if (place != nullptr && !loaded_[place->extent]) {
    const std::span<const std::byte> payload = loader_.read(place->extent, fault_buffer_);
    if (put_everywhere(place->extent, payload)) {
      loaded_[place->extent] = true;
    } else {
      faults_.push_back({descriptor, page});  // it is answered when the events are taken
      return;
    }
    const auto still = std::ranges::find(spaces_, descriptor, &LazySpace::descriptor);
    if (still != spaces_.end()) still->wake(page);
    return;
  }
  // It came and was given back since, or there never was anything.
  if (space.put_zeros(page) == LazySpace::Put::Again) faults_.push_back({descriptor, page});
}

}  // namespace crs::engine
