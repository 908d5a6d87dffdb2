#include "engine/resources/descriptors/files/permissions.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "engine/machine/capabilities.h"
#include "engine/resources/descriptors/files/identity.h"

namespace crs::engine {
namespace {

// open(2): of another user's file, only who has CAP_FOWNER may leave the access time alone.
bool may_spare_access_time(const Seen& seen) {
  return (seen.flags & O_NOATIME) == 0 || seen.status.st_uid == ::geteuid() || has_capability(CAP_FOWNER);
}

}  // namespace

int access_of(const Seen& seen) { return (seen.reads() ? R_OK : 0) | (seen.writes() ? W_OK : 0); }

bool may_be_accessed(const std::string& path, int mode, int flags) {
  return ::faccessat(AT_FDCWD, path.c_str(), mode, flags | AT_EACCESS) == 0 || (errno != EACCES && errno != EPERM);
}

bool may_be_opened(const Seen& seen) { return may_be_accessed(seen.link, access_of(seen)); }

bool look_at_permissions(TableCapture& table, const Seen& seen) {
  if (is_own_in_proc(table, seen)) return true;
  if (!may_be_opened(seen)) {
    if (!is_generated(seen.copy.get())) return false;
    table.lack(seen, fmt::format("{}, which its permissions do not let this user open again", seen.link),
               "restart as root");
  } else if (!may_spare_access_time(seen)) {
    table.lack(seen,
               fmt::format("{}, open with O_NOATIME, as only its owner (user {}) or CAP_FOWNER may open it", seen.link,
                           seen.status.st_uid),
               "restart as that user or as root");
  }
  return true;
}

}  // namespace crs::engine
