#include "engine/resources/attributes/barriers.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>

#include <cerrno>

namespace crs::engine {
namespace {

constexpr std::uint32_t kGetRegistrations = 1U << 9U;  // MEMBARRIER_CMD_GET_REGISTRATIONS, 6.3
constexpr std::uint32_t kRegistering =
    MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED |
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ;

std::int64_t command(RemoteCaller& remote, std::uint32_t number) {
  return remote.raw_call(SYS_membarrier, {number, 0, 0, 0, 0, 0});
}

}  // namespace

void foresee_barriers(Questions& questions) {
  questions.of_copy_too.push_back({SYS_membarrier, {kGetRegistrations}, RemoteCaller::kReturned});
}

void capture_barriers(RemoteCaller& remote, image::Attributes& attributes) {
  const std::int64_t registrations = command(remote, kGetRegistrations);
  if (registrations == -EINVAL) return;
  // A kernel without membarrier(2) (ENOSYS), or a filter that forbids it: then there are none.
  attributes.set_barriers(registrations < 0 ? 0 : static_cast<std::uint32_t>(registrations) & kRegistering);
}

void restore_barriers(RestoreContext& context, const image::Attributes& attributes) {
  std::uint32_t wanted = attributes.barriers() & kRegistering;
  const bool known = attributes.has_barriers();
  if (!known) {
    const std::int64_t offered = command(context.remote, MEMBARRIER_CMD_QUERY);
    wanted = offered < 0 ? 0 : static_cast<std::uint32_t>(offered) & kRegistering;
  }
  bool made_all = true;
  for (std::uint32_t one = 1; one <= wanted; one <<= 1U) {
    if ((wanted & one) != 0 && command(context.remote, one) != 0) made_all = false;
  }
  if (known && !made_all)
    context.notes.emplace_back(
        "a memory barrier that the program had registered for (membarrier) is not to be had here");
}

}  // namespace crs::engine
