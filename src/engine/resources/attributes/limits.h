// Resource limits (getrlimit(2)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/resources/attributes/attributes.pb.h"
#include "engine/resources/context.h"

namespace crs::engine {

struct ResourceLimit {
  std::uint64_t soft = 0;  // all ones: unlimited
  std::uint64_t hard = 0;
  friend bool operator==(const ResourceLimit&, const ResourceLimit&) = default;
};

// The text of /proc/PID/limits, whose lines are in the order of the resources' numbers. Everybody may read it, while
// prlimit(2) takes a capability for another user's process. Throws an Error of kind Failed for text of any other form.
std::vector<ResourceLimit> parse_limits(std::string_view text);
std::vector<ResourceLimit> limits_of(pid_t pid);

// In the newborn, as ordinary code: soft limits become as high as they may be, so that they are not in the way of
// building the process.
void lift_soft_limits_inside();
// A hard limit above what the caller has and may set stays as the caller has it, with a note. The limit of pending
// signals is not lowered yet: timers that are still to be made count, too (getrlimit(2), RLIMIT_SIGPENDING).
void restore_limits(RestoreContext& context, const google::protobuf::RepeatedPtrField<image::Limit>& limits);
// When the timers are there.
void finish_limits(RestoreContext& context, const google::protobuf::RepeatedPtrField<image::Limit>& limits);

}  // namespace crs::engine
