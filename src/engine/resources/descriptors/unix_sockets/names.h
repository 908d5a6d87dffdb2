// Names of unix sockets: paths and abstract ones (unix(7)).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/unix_sockets/node_search.h"
#include "engine/resources/descriptors/unix_sockets/unix_diag.h"

namespace crs::engine {

// Whether others reach a socket by the same names as before, once it is bound again.
enum class Reachable {
  Same,    // or by none: its node is unlinked
  Less,    // its node has other names, which will not lead there
  Unknown  // its node is unlinked, or where this user cannot find it
};

// Records the name `sun_path`. Refuses `seen` where it is a path below another root directory.
Reachable capture_name(TableCapture& table, const Seen& seen, const std::string& sun_path, const UnixDiag* diag,
                       NodeSearch& search, image::UnixName& name);

// Why this user could not give a socket that name again, though nobody has it then; nothing if it can.
std::optional<std::string> obstacle_to_name(const image::UnixName& name);

// Throws Damaged for a name that cannot be, Failed for a path that cannot be bound here.
void check_name(const image::UnixName& name);

// The address alone.
void check_address(const image::UnixName& name);

// Enters the directory to which a relative path belongs, and comes back.
class InDirectoryOf {
 public:
  explicit InDirectoryOf(const image::UnixName& name);
  ~InDirectoryOf();
  InDirectoryOf(const InDirectoryOf&) = delete;
  InDirectoryOf& operator=(const InDirectoryOf&) = delete;

 private:
  FileDescriptor before_;
};

// By which path a socket that has been bound to its name is reached, as long as this exists.
class PathTo {
 public:
  // Throws.
  explicit PathTo(const image::UnixName& name);
  const std::string& address() const { return address_; }  // sun_path

 private:
  InDirectoryOf there_;
  FileDescriptor node_;  // of one that was moved: its path may be longer than an address
  std::string address_;
};

// Binds, where a socket that nobody has any more stands at the path, and moves the path's node to where it was. Throws.
void bind_to_name(int socket, const image::UnixName& name, std::vector<std::string>& notes);

// The same for a socket that is about to be closed and whose name its other end still sees: nothing that exists is
// touched, nothing stays behind, and if it cannot be had, it has no name.
void bind_in_passing(int socket, const image::UnixName& name);

// Connects at once. Throws.
void connect_to_name(int socket, const image::UnixName& name);

// The same name for a socket whose path is to be free for others at once though it is not unlinked yet, with a path
// aside in the same directory, which only its maker knows: `id` tells such sockets apart.
image::UnixName moved_aside(const image::UnixName& name, std::uint64_t id);

// Takes a path away again whose name was unlinked at the checkpoint.
void unlink_name(const image::UnixName& name);

}  // namespace crs::engine
