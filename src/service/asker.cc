#include "service/asker.h"

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <sstream>

#include "base/io.h"

namespace crs {
namespace {

// Whether `user` stands for those who have no user id in this user namespace (user_namespaces(7), "Unmapped user and
// group IDs"). A private directory of the socket lets nobody in but this user and whoever may do everything outside.
bool is_unmapped(uid_t user) {
  if (user != static_cast<uid_t>(std::atoi(read_file("/proc/sys/kernel/overflowuid", 32).c_str()))) return false;
  std::istringstream map(read_file("/proc/self/uid_map", 65536));
  for (std::uint64_t inside = 0, outside = 0, count = 0; map >> inside >> outside >> count;) {
    if (user >= inside && user - inside < count) return false;
  }
  return true;
}

}  // namespace

bool may_ask(uid_t user, bool in_private_directory) {
  return user == ::geteuid() || user == 0 || (in_private_directory && is_unmapped(user));
}

}  // namespace crs
