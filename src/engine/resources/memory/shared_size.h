// How large shared anonymous memory is, of which a program may map a part only.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/resources/context.h"
#include "engine/resources/memory/shared_objects.h"

namespace crs::engine {

// In one process, while it is stopped. Without CAP_CHECKPOINT_RESTORE the kernel tells nobody (proc_pid_map_files(5)),
// and the program is made to try.
class SharedSizes {
 public:
  explicit SharedSizes(CaptureContext& context) : context_(context) {}
  // Leaves no areas behind, unless this process dies before.
  ~SharedSizes();
  SharedSizes(const SharedSizes&) = delete;
  SharedSizes& operator=(const SharedSizes&) = delete;

  // Bytes, as far as it can be told; noted in the object. The process must have a view of it.
  std::uint64_t of(SharedObjects::Object& object);

 private:
  std::uint64_t by_trying(const SharedObjects::Object& object);
  // Nothing: there is no room to look.
  std::optional<bool> goes_on_after(const SharedObjects::View& view);
  bool reaches(const SharedObjects::View& view, std::uint64_t bytes);
  bool is_readable(RemoteAddress address) const;
  std::optional<RemoteAddress> window();

  CaptureContext& context_;
  std::optional<RemoteAddress> window_;  // two pages
  std::uint64_t unmappable_ = 0;         // how large a view was that there could not be
};

// That there is more of the memory than `view` shows, and that nobody can look at it.
void refuse_unmapped(CaptureContext& context, const SharedObjects::View& view);

}  // namespace crs::engine
