// Giving the unix sockets of an image their names again.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/unix_sockets/unix_sockets.pb.h"

namespace crs::engine {

// The nodes that it has made are removed again at its end, unless it was told to keep them, or is the copy of another
// process (fork(2)). The sockets must live as long: nothing else can have the inode of a node then.
class NameBinder {
 public:
  explicit NameBinder(std::vector<std::string>& notes);
  ~NameBinder();
  NameBinder(const NameBinder&) = delete;
  NameBinder& operator=(const NameBinder&) = delete;

  // Binds, where a socket that nobody has any more stands at the path, and moves the path's node to where it was. Of a
  // name that is unlinked, nothing stands anywhere afterwards, and whoever holds the node that is returned (O_PATH) can
  // reach the socket. Throws.
  FileDescriptor bind(int socket, const image::UnixName& name);
  // For a socket that is about to be closed and whose name its other end still sees: nothing that exists is touched,
  // nothing stays behind, and if it cannot be had, it has no name.
  static void bind_in_passing(int socket, const std::string& sun_path);

  void keep() { made_.clear(); }

 private:
  struct MadeNode {
    std::string path;
    dev_t device;
    ino_t inode;
  };

  void bind_to_path(int socket, const image::UnixName& name);
  void bind_and_move(int socket, const image::UnixName& name);
  FileDescriptor bind_and_unlink(int socket, const image::UnixName& name);
  FileDescriptor bind_at_path_meanwhile(int socket, const image::UnixName& name, int problem);
  void set_up(int node, const std::string& path, const image::UnixName& name);
  bool is_own(const std::string& path) const;

  std::vector<std::string>& notes_;
  pid_t owner_;
  std::vector<MadeNode> made_;
};

}  // namespace crs::engine
