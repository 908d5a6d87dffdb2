// The connections of one station of the ring: a listener for the station before it, and a connection to the one after
// it. They are what a snapshot cannot hold, and so they are a layer: closed at RestartPre, opened again at Restart.
#pragma once

#include <crs/crs.hpp>
#include <cstdint>
#include <optional>
#include <string>

namespace ring {

// A token, with the number that tells it from all others. An acknowledgement is the number alone.
struct Token {
  std::uint64_t number = 0;
  std::uint64_t value = 0;
};

class Connections : public crs::Layer {
 public:
  // Stations are known by the ports of their listeners on 127.0.0.1.
  Connections(int own_port, int next_port);

  crs::Answer notify(crs::State state) override;

  // How often there was a new connection to the next station, and from the one before.
  std::uint64_t connected() const { return connected_; }
  std::uint64_t accepted() const { return accepted_; }

  // Each of these does as much as can be done now and never throws for a peer that has gone: it comes back.
  // Waits up to `milliseconds` until something can be read.
  void wait(int milliseconds);
  // To the next station; false: not now.
  bool send(const Token& token);
  std::optional<std::uint64_t> receive_acknowledgement();
  // From the station before.
  std::optional<Token> receive();
  bool acknowledge(std::uint64_t number);

 private:
  // A descriptor with the service's word for whose it is: after a restart a number may be somebody else's.
  struct Socket {
    crs::Claim claim;
    std::string partial{};  // what has come of a message that is not complete
  };

  void open_listener();
  void connect();
  void accept();
  static void close(std::optional<Socket>& socket);
  template <typename Message>
  std::optional<Message> read(std::optional<Socket>& socket);
  template <typename Message>
  bool write(std::optional<Socket>& socket, const Message& message);

  int own_port_;
  int next_port_;
  std::uint64_t connected_ = 0;
  std::uint64_t accepted_ = 0;
  std::optional<Socket> listener_;
  std::optional<Socket> before_;
  std::optional<Socket> after_;
};

}  // namespace ring
