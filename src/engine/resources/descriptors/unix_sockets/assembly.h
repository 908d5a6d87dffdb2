// Making all unix sockets of an image again: first all of them with their names and connections, then, when all
// descriptors are in place, what waits to be read at them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class UnixAssembly {
 public:
  // Makes, names and connects them; they lie aside.
  explicit UnixAssembly(TableRestore& table);

  // One of them, for the number it belongs at.
  FileDescriptor duplicate(std::uint64_t id) const;
  // Fills the queues, shuts down, closes ends that are closed, takes names away that were unlinked, sets options.
  void finish();

 private:
  struct Made {
    const image::UnixSocket* image = nullptr;
    FileDescriptor socket;      // aside
    image::UnixName name;       // as in the image; until finish(), what was unlinked has a path aside
    FileDescriptor closed_end;  // the other end of one whose other end is closed
  };

  struct TemporaryListener {
    image::UnixName name;
    FileDescriptor socket;
  };

  void list_sockets();
  bool is_alone(const Made& made);
  bool needs_listener_of_image(const Made& made);
  const Made* listener_of_client(const image::UnixSocket& client) const;
  void name_connected(int socket, const image::UnixName& name);
  FileDescriptor make_socket(const image::UnixSocket& socket) const;
  void make_singles();
  void make_single(Made& made);
  void make_connection(Made& made);
  void make_pair(Made& made, FileDescriptor& other, const image::UnixSocket* other_image);
  // `client` gets a socket of its own that is connected to `listener`, `accepted` what that gives.
  void connect_by(int listener, const image::UnixName& name, const image::UnixSocket& like, FileDescriptor& client,
                  FileDescriptor& accepted, const image::UnixName* client_name);
  void let_wait(Made& client);
  std::pair<int, const image::UnixName*> listener_for(const image::UnixSocket& accepted);
  const Made* named(const std::string& sun_path) const;
  Made* peer_of(const Made& made);

  void fill(Made& receiver);
  void fill_from_stranger(const Made& receiver, const image::UnixMessage& message, std::string_view address);
  void send(int sender, const image::UnixMessage& message, std::string_view receiver);
  void settle(Made& made);

  TableRestore& table_;
  std::map<std::uint64_t, Made> sockets_;
  std::unordered_map<std::string, const Made*> by_name_;
  std::map<std::string, TemporaryListener> temporary_listeners_;
  bool credentials_lost_ = false;
};

}  // namespace crs::engine
