// Restarting from within a program: the work is crs's, which this process starts or becomes.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "crs/component.hpp"
#include "crs/service.hpp"
#include "service/taker_place.h"

namespace crs {

struct RestartRequest {
  std::string reference;  // or a snapshot's directory
  Ids ids = Ids::Automatic;
  ChangedFiles changed_files = ChangedFiles::Refuse;
  std::string job{};  // as in ProgramRestartOptions
};

struct RestartedChild {
  pid_t pid = 0;
  std::string reference;
  std::string component;
};

// As a new process, with the standard streams of this one in place of those that led out of the snapshot.
RestartedChild restart_as_child(const RestartRequest& request, const HelperOptions& helper,
                                const std::optional<RestartNews>& news);

// Has the snapshot checked; throws if it cannot be restarted here, or if this process cannot become its program: that
// must have no children, not even ended ones.
void check_replacement(const RestartRequest& request, const HelperOptions& helper,
                       const std::optional<RestartNews>& news);

// Becomes the program; returns only by throwing.
[[noreturn]] void become_restarted(const RestartRequest& request, const HelperOptions& helper,
                                   const std::optional<RestartNews>& news);

}  // namespace crs
