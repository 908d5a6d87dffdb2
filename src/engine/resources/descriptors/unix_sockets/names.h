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

bool is_abstract(const image::UnixName& name);
bool is_relative(const image::UnixName& name);
// From the root directory on, of one that is not unlinked.
std::string full_path(const image::UnixName& name);

// Records the name `sun_path`. Refuses `seen` where it is a path below another root directory.
Reachable capture_name(TableCapture& table, const Seen& seen, const std::string& sun_path, const UnixDiag* diag,
                       NodeSearch& search, image::UnixName& name);

// Why this user could not give a socket that name again, though nobody has it then; nothing if it can.
std::optional<std::string> obstacle_to_name(const image::UnixName& name);

// Throws Damaged for a name that cannot be, Failed for a path that cannot be bound here.
void check_name(const image::UnixName& name);

// The address alone.
void check_address(const image::UnixName& name);

// The node that stands in the way of a name must be a socket that nobody has. Throws.
void check_node(const std::string& path);

// Enters the directory in which the node of a relative path stands, and comes back.
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
  // `unlinked_node` leads to the node of one that is unlinked (NameBinder::bind()); -1 for others. Throws.
  PathTo(const image::UnixName& name, int unlinked_node);
  const std::string& address() const { return address_; }  // sun_path

 private:
  InDirectoryOf there_;
  FileDescriptor node_;  // of one that was moved: its path may be longer than an address
  std::string address_;
};

// Connects at once. `unlinked_node` as for PathTo. Throws.
void connect_to_name(int socket, const image::UnixName& name, int unlinked_node);

}  // namespace crs::engine
