// Making all unix sockets of an image again: first all of them with their names and connections, then, when all
// descriptors are in place, what waits to be read at them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/unix_sockets/name_binder.h"

namespace crs::engine {

class UnixAssembly {
 public:
  // Makes, names and connects them; they lie aside. What stands in the file system then is removed again if this ends
  // without finish().
  explicit UnixAssembly(TableRestore& table);

  // One of them, for the number it belongs at.
  FileDescriptor duplicate(std::uint64_t id) const;
  // Fills the queues, shuts down, closes ends that are closed, sets options.
  void finish();

 private:
  struct Made {
    const image::UnixSocket* image = nullptr;
    FileDescriptor socket;      // aside
    FileDescriptor node;        // of a name that is unlinked; aside
    FileDescriptor closed_end;  // the other end of one whose other end is closed
  };

  struct TemporaryListener {
    const image::UnixName* name = nullptr;
    FileDescriptor node;  // as in Made
    FileDescriptor socket;
  };

  // Who listens, and how it is reached.
  struct Door {
    int listener;
    const image::UnixName& name;
    int node;
  };

  void list_sockets();
  bool is_alone(const Made& made);
  bool needs_listener_of_image(const Made& made);
  const Made* listener_of_client(const image::UnixSocket& client) const;
  // Gives `socket`, which is or becomes that of `made`, its name if it has one.
  void name(Made& made, int socket);
  static Door door_of(const Made& listener);
  FileDescriptor make_socket(const image::UnixSocket& socket) const;
  void make_single(Made& made);
  void make_connection(Made& made);
  void make_pair(Made& made, FileDescriptor& other, Made* peer);
  // `client` gets a socket of its own that is connected to `door`, `accepted` what that gives. `named`, unless it is
  // null, has the name of the client.
  void connect_by(const Door& door, const image::UnixSocket& like, FileDescriptor& client, FileDescriptor& accepted,
                  Made* named);
  void let_wait(Made& client);
  Door listener_for(const image::UnixSocket& accepted);
  const Made* named(std::uint32_t type, const std::string& sun_path) const;
  Made* peer_of(const Made& made);

  void fill(Made& receiver);
  void fill_from_stranger(const Made& receiver, const image::UnixMessage& message, std::string_view address);
  void send(int sender, const image::UnixMessage& message, std::string_view receiver);
  void settle(Made& made);

  TableRestore& table_;
  std::map<std::uint64_t, Made> sockets_;
  std::map<std::pair<std::uint32_t, std::string>, const Made*> by_name_;  // with the type, which has names of its own
  // By type, and the name as the image has it: an address can have been unlinked and bound again.
  std::map<std::pair<std::uint32_t, std::string>, TemporaryListener> temporary_listeners_;
  bool credentials_lost_ = false;
  NameBinder names_;  // ends before the sockets do
};

}  // namespace crs::engine
