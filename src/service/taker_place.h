// A snapshot of this program that another process takes or commits: the taker, at the other end of a connection.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "crs/service.hpp"
#include "wire/connection.h"

namespace crs {

// What the manifest is to say of the component, and of what the program knows about its job.
struct TakenBy {
  std::string component;
  std::string component_version;
  InterfaceVersion interface_version;
  // How long a taker may need for any of its answers: then it is given up, and the program goes on without a snapshot.
  std::chrono::nanoseconds answer_limit = std::chrono::hours(1);
};

// Gives the connection to the taker; called when a component first needs it, so that one that stores nothing starts
// nothing.
using ConnectToTaker = std::function<std::shared_ptr<wire::Connection>()>;

std::unique_ptr<SnapshotPlace> make_taker_place(TakenBy taken_by, std::string job, ConnectToTaker connect);

struct HelperOptions {
  std::string program;                 // find_helper()
  std::vector<std::string> arguments;  // before `take`, e.g. {"--store", "/scratch/store"}
  std::string job = {};                // that no restart named; "": the taker's choice
  // How long it may need to restart another program, or to check one.
  std::chrono::nanoseconds restart_limit = std::chrono::hours(1);
};

// The environment of this process (NAME=VALUE), with the values that the last restart gave.
std::vector<std::string> environment_now(const std::optional<RestartNews>& news);

// For a service that starts its own taker. `service` tells which job this is and which values of the environment count,
// once it is there.
MakeSnapshotPlace make_helper_places(TakenBy taken_by, HelperOptions helper, std::function<const Service*()> service);

}  // namespace crs
