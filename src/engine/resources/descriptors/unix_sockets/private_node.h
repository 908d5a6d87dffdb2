// Binding a unix socket to a path that need not lead to it: the kernel keeps a path as it is given, wherever that is.
// So the socket is bound in a new folder, in which the path exists for that moment, and nothing that stands at the path
// itself is looked at or touched. The folders that the path names need not exist either.
#pragma once

#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/unix_sockets/queue.h"

namespace crs::engine {

// At the end of the scope the folder is gone, and the node too, unless it was moved.
class PrivateNode {
 public:
  // Binds `socket` in a new folder below `around`. An absolute path takes a child process that sees the folder as its
  // root directory: CAP_SYS_CHROOT, or a user namespace. Never throws for what this user or machine cannot do.
  PrivateNode(int socket, const std::string& sun_path, const std::string& around);
  ~PrivateNode();
  PrivateNode(const PrivateNode&) = delete;
  PrivateNode& operator=(const PrivateNode&) = delete;

  bool is_bound() const noexcept { return problem_ == 0; }
  // Why not: an errno.
  int problem() const noexcept { return problem_; }
  // O_PATH: leads to the node for as long as it is open. Throws.
  FileDescriptor open() const;
  // rename(2), in the same file system. Throws.
  void move_to(const std::string& path) const;

 private:
  // All of them below the private folder.
  struct Layout {
    std::vector<std::string> folders;  // those that the path needs, in the order in which they are made
    std::string start;                 // where a relative path begins
    std::string node;
  };

  static Layout lay_out(const std::string& sun_path);
  bool make_folder(const std::string& around);
  // In the child. Returns 0 or an errno, and does not throw.
  int bind_inside(int socket, const UnixAddress& address, bool is_absolute) const noexcept;

  std::string path_;  // of the private folder; empty if it could not be made
  FileDescriptor folder_;
  Layout layout_;
  int problem_ = 0;
};

}  // namespace crs::engine
