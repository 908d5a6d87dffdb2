// Asking the service of a program for a checkpoint, as `crs checkpoint` does.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/jobs.h"
#include "cli/taker.h"
#include "wire/connection.h"

namespace crs::cli {

// A connection to the service of process `pid`, if it has one. Says which directories it does not trust.
std::optional<wire::Connection> connect_to_service(Context& context, pid_t pid);

// A warning for each process below `root` that has a service: nobody tells its layers, since the snapshot is not that
// process's alone.
std::vector<std::string> services_below(pid_t root);

class ServiceRequest {
 public:
  // `component` is the only one that may take the snapshot, or "". Context and connection outlive the object.
  ServiceRequest(Context& context, wire::Connection& connection, const Target& target, std::string component,
                 wire::Request request, Storing storing = {}, TcpPolicy tcp = TcpPolicy::Reset);

  // Returns when the snapshot is complete and the layers have reported, or their time is over. Throws if there is no
  // snapshot.
  void run();

  const SnapshotWriter& writer() const { return *taker_.writer(); }
  // Whether it was made here, and not by the program itself.
  bool pictures() const noexcept { return taker_.pictures(); }
  // Whether the program was to end and has been ended.
  bool has_ended_program() const noexcept { return taker_.has_ended_program(); }
  // What went wrong in layers after the snapshot, once it has been shown to the user.
  const std::vector<std::string>& failures() const noexcept { return failures_; }
  // Of all phases; empty where the program did not tell.
  std::vector<LayerTime> layers() const;

 private:
  using Time = std::chrono::steady_clock::time_point;

  void send_request();
  void take(const wire::Message& message);
  void note(const Progress& progress);
  bool is_over() const;
  void end_of_connection();
  void give_layers_up(const std::string& why);
  void tell_failures();
  void fail_with(std::string failure);
  // What to do when nothing came for a while. False: it is no use waiting longer.
  bool wait_on();

  Context& context_;
  wire::Connection& connection_;
  Target target_;
  std::string component_;
  wire::Request request_;
  Taker taker_;
  Time give_up_;
  std::vector<std::string> failures_;
  bool answered_ = false;
  std::string stage_;  // not shown yet
};

}  // namespace crs::cli
