#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <iterator>
#include <vector>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/memory/asynchronous_io/asynchronous_io.h"
#include "engine/resources/memory/asynchronous_io/instant_requests.h"
#include "engine/resources/memory/asynchronous_io/ring.h"

namespace crs::engine {
namespace {

// Whether the process knows the context: it might have inherited the mapping alone. Asks for no answer.
bool is_alive(RemoteCaller& remote, RemoteAddress context) {
  return remote.raw_call(SYS_io_getevents, {context.value, 0, 0, remote.scratch().value, 0, 0}) == 0;
}

struct Places {
  std::uint64_t accounted = 0;  // free or with an answer
  std::uint64_t answered = 0;
};

Places count_places(RemoteCaller& remote, RemoteRange ring) {
  InstantRequests requests(remote, ring.start, slots_in(ring.size()) - 1);
  const auto is_own = [&](const io_event& event) { return requests.answered_by(event); };
  std::vector<io_event> of_program;
  std::uint64_t accounted = 0;
  for (const bool everywhere : {false, true}) {
    const std::vector<io_event> answers = requests.fill_and_empty(everywhere);
    accounted = answers.size();
    std::ranges::remove_copy_if(answers, std::back_inserter(of_program), is_own);
    if (accounted >= capacity_in(ring.size())) break;
  }
  requests.make(of_program.size());
  Ring(remote.memory(), ring).replace(of_program, is_own);
  return {accounted, of_program.size()};
}

// No signal and no descriptor tells of an answer whose request did not ask for that: the ring is looked at.
bool are_there(const Ring& ring, std::uint64_t answers, std::chrono::milliseconds patience) {
  constexpr timespec kMoment{0, 200'000};
  const auto end = std::chrono::steady_clock::now() + patience;
  while (ring.unread() < answers) {
    if (std::chrono::steady_clock::now() >= end) return false;
    ::nanosleep(&kMoment, nullptr);
  }
  return true;
}

}  // namespace

bool is_asynchronous_io(const MapsLine& line) { return line.name.starts_with("/[aio]"); }

bool has_unread_answers(const RemoteMemory& memory, RemoteRange range) {
  const Ring ring(memory, range);
  return ring.is_known() && ring.unread() > 0;
}

AsynchronousIoState capture_asynchronous_io(RemoteCaller& remote, RemoteRange range, std::chrono::milliseconds patience,
                                            image::AsynchronousIo& image) {
  const Ring ring(remote.memory(), range);
  if (!is_alive(remote, range.start)) return {.obstacle = "of another process, from which this one has inherited it"};
  if (!ring.is_known()) return {.obstacle = "not as the kernel has made it"};
  AsynchronousIoState state;
  const std::uint64_t capacity = capacity_in(range.size());
  if (ring.unread() < capacity) {
    const Places places = count_places(remote, range);
    if (places.accounted > capacity) return {.obstacle = "of more requests than its size says"};
    state.under_way = capacity - places.accounted;
    if (state.under_way > 0 && are_there(ring, places.answered + state.under_way, patience)) state.under_way = 0;
  }
  const std::vector<io_event> answers = ring.answers();
  state.answers = answers.size();
  const auto bytes = std::as_bytes(std::span(answers));
  image.set_answers(bytes.data(), bytes.size());
  return state;
}

}  // namespace crs::engine
