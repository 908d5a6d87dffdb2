// The restart of TCP connections to other programs that were kept (--tcp keep, held_connections.h). All of it happens
// in the restart command, which may have rights that the program's namespaces do not have.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/descriptors.pb.h"

namespace crs::engine {

class KeptConnections {
 public:
  // The image must outlive this.
  explicit KeptConnections(const image::Descriptors& image);

  // Takes each over from the process that holds it, if it is still as it was, or makes it again; deaf and silent until
  // begin(). Throws. What has been made is closed without a word if nothing comes of the restart.
  void prepare();
  // The socket of that id.
  int socket_of(std::uint64_t id) const { return all_.at(id).socket.get(); }
  // The program is about to run: from now on they are connections like others.
  void begin();

 private:
  struct Connection {
    const image::InetSocket* image = nullptr;
    FileDescriptor socket;
  };

  void look_for_holders();
  void take_from(int process, pid_t pid);
  void take(FileDescriptor socket);
  static void make(Connection& connection);
  static void begin(const Connection& connection);

  std::map<std::uint64_t, Connection> all_;
  std::vector<FileDescriptor> holders_;  // pidfds
};

}  // namespace crs::engine
