#include "engine/resources/descriptors/devices/devices.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "engine/resources/descriptors/files/permissions.h"

namespace crs::engine {
namespace {

struct KnownDevice {
  unsigned minor_number;
  std::string_view path;
};
// Minor numbers of major 1, as the kernel's admin-guide/devices.txt lists them.
constexpr unsigned kMemoryDevices = 1;
constexpr std::array<KnownDevice, 5> kKnown{
    {{3, "/dev/null"}, {5, "/dev/zero"}, {7, "/dev/full"}, {8, "/dev/random"}, {9, "/dev/urandom"}}};

const KnownDevice* find_known(dev_t number) {
  if (major(number) != kMemoryDevices) return nullptr;
  const auto found = std::ranges::find(kKnown, minor(number), &KnownDevice::minor_number);
  return found == kKnown.end() ? nullptr : found;
}

bool is_the_device(const FileDescriptor& opened, const image::Device& device) {
  struct stat now{};
  return ::fstat(opened.get(), &now) == 0 && S_ISCHR(now.st_mode) && now.st_rdev == device.number();
}

// A node that this user may not open, or none may on its file system, as in a chroot, is as good as any other.
bool is_denied(const Error& error) { return error.error_number() == EACCES || error.error_number() == EPERM; }

FileDescriptor open_device(const image::OpenDescription& description) {
  const image::Device& device = description.device();
  const KnownDevice* const known = find_known(device.number());
  if (known == nullptr)
    fail(ErrorKind::Damaged, "the snapshot has a device {:#x} that cannot be in it", device.number());
  for (const std::string& path : {checked_path(device.path()), std::string(known->path)}) {
    struct stat found{};
    if (::stat(path.c_str(), &found) != 0 || !S_ISCHR(found.st_mode)) continue;
    try {
      FileDescriptor opened = open_again(path, description.status_flags());
      if (is_the_device(opened, device)) return opened;
    } catch (const Error& error) {
      if (!is_denied(error) || path == known->path) throw;
    }
  }
  fail(ErrorKind::Failed, "there is no device {} here, which the program had open", known->path);
}

// Here or at the well-known path.
bool may_be_had(const Seen& seen, const std::string& known_path) {
  const auto may_be_opened_at = [&](const std::string& path) {
    struct stat found{};
    return ::stat(path.c_str(), &found) == 0 && S_ISCHR(found.st_mode) && found.st_rdev == seen.status.st_rdev &&
           may_be_accessed(path, access_of(seen));
  };
  return may_be_opened_at(seen.link) || may_be_opened_at(known_path);
}

}  // namespace

bool DeviceKind::recognises(const TableCapture& /*table*/, const Seen& seen) {
  return S_ISCHR(seen.status.st_mode) && !seen.is_path_only() && find_known(seen.status.st_rdev) != nullptr;
}

void DeviceKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  const std::string known_path(find_known(seen.status.st_rdev)->path);
  if (!may_be_had(seen, known_path)) {
    table.lack(seen, fmt::format("device {}, which this user may open neither there nor at {}", seen.link, known_path),
               "make it accessible there, or restart as root");
  }
  image::Device& device = *description.mutable_device();
  device.set_path(seen.link);
  device.set_number(seen.status.st_rdev);
}

void DeviceKind::check(TableCheck& /*table*/, const Description& description) { open_device(description); }

FileDescriptor DeviceKind::open(TableRestore& /*table*/, const Description& description) {
  return open_device(description);
}

}  // namespace crs::engine
