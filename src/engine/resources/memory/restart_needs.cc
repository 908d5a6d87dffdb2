#include "engine/resources/memory/restart_needs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/resources/memory/memory_supply.h"

namespace crs::engine {
namespace {

std::string advice_for(const image::MappedFile& file) {
  const std::string_view rights = file.writable() ? "rw" : "r";
  struct stat status{};
  const bool is_own = ::stat(file.path().c_str(), &status) == 0 && status.st_uid == ::geteuid();
  if (is_own) return fmt::format("chmod u+{} it", rights);
  return fmt::format("let its owner give you the right (chmod a+{} it), or take the snapshot and restart it as root",
                     rights);
}

}  // namespace

// Where that is too much here, a program that ends with its checkpoint could not come back.
void look_for_room(CaptureContext& context, const image::Memory& image) {
  const auto areas = static_cast<std::uint64_t>(image.areas_size());
  const std::uint64_t needed = areas_needed_for(areas);
  const std::uint64_t limit = area_limit();
  if (needed <= limit) return;
  tell_lack(context,
            fmt::format("process {} has {} memory areas: a restart needs {}, and {} are allowed here "
                        "(vm.max_map_count)",
                        context.pid, areas, needed, limit),
            fmt::format("raise that: sysctl vm.max_map_count={}", needed));
}

void look_at_permissions(CaptureContext& context, const image::Memory& image, Backings& files) {
  for (const image::MappedFile& file : image.files()) {
    if (files.may_be_mapped(file)) continue;
    const bool executes = file.path() == image.layout().executable();
    context.refusals.add(
        fmt::format("process {} {} {}, whose permissions would not let a restart read{} it, as mapping it again takes",
                    context.own_pid, executes ? "executes" : "has mapped", file.path(),
                    file.writable() ? " and write" : ""),
        advice_for(file));
  }
}

}  // namespace crs::engine
