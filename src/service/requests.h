// Requests from outside: the service of a program listens on a socket for those who want a snapshot of it
// (wire/request_socket.h). They queue; each hears how far its checkpoint has come, and takes the snapshot itself where
// the component has it taken from outside.
#pragma once

#include <memory>
#include <string>

#include "crs/service.hpp"
#include "service/taker_place.h"

namespace crs {

// Is a layer of the service's own, below those that are registered later and in no list of layers: its descriptors are
// claimed in the ledger, closed at RestartPre and reopened at Restart. Requests that were waiting when the picture was
// taken are dropped in the restarted process. Its threads block all signals. The service must outlive it.
class RequestListener {
 public:
  // Throws where no private directory can be had; the program may go on without requests. `job`: as the program chose
  // it; "": the taker's choice.
  RequestListener(Service& service, TakenBy taken_by, std::string job = "");
  ~RequestListener();
  RequestListener(const RequestListener&) = delete;
  RequestListener& operator=(const RequestListener&) = delete;

  // Of the socket.
  std::string path() const;

  // For a process that is ending (exit(3)) while it may still be at work: the socket's file goes, and all else with the
  // process.
  void leave_no_file() noexcept;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
  LayerRegistration registration_;
};

}  // namespace crs
