// Somebody outside of a program for it to be connected to.
#pragma once

#include <cstdint>
#include <thread>

#include "base/file_descriptor.h"

namespace crs::cli {

// Listens on TCP at 127.0.0.1 and sends back what it is sent, over any number of connections, until it is destroyed.
class EchoServer {
 public:
  EchoServer();
  ~EchoServer();
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;
  std::uint16_t port() const;

 private:
  void serve();

  FileDescriptor listener_;
  FileDescriptor end_;  // readable when it is to end
  std::thread thread_;
};

}  // namespace crs::cli
