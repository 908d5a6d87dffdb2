// Which process and thread ids a restarted program gets, and by which means.
#pragma once

#include <sys/types.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "crs/component.hpp"
#include "engine/newborn/clock_start.h"

namespace crs::engine {

struct IdPlan {
  enum class Way {
    InPlace,           // clone3(2) with set_tid in this process id namespace
    UserNamespace,     // the same in a private user, process id and mount namespace
    ProcessNamespace,  // the same in a private process id and mount namespace (the caller may make one without a user
                       // namespace)
    Fresh,             // whatever ids the kernel gives
    Caller,            // the calling process becomes the program and keeps its id
  };
  enum class ThreadIds { Keep, KeepIfFree, New };
  Way way = Way::InPlace;
  std::string note;                        // for the user, if the way is not what they would expect; or empty
  ThreadIds thread_ids = ThreadIds::Keep;  // of all but the main thread
  bool ipc_namespace = false;              // where it is in private namespaces: one of these, too
  bool orphan = false;                     // where it is in no private namespaces: its parent ends before it runs
  std::optional<ClockStart> clocks{};      // that go on in a time namespace; nothing: those of this process

  bool makes_namespaces() const { return way == Way::UserNamespace || way == Way::ProcessNamespace; }
};

// Decides for the process `ids.front()`; `ids` are those of its threads and, if it is a tree, of all other processes
// and threads that are to be made. Throws if what `wanted` names is impossible here: processes know each other by their
// ids, so a tree must have its own. `known_taken` cannot be had either, although nothing shows it.
IdPlan plan_ids(Ids wanted, const std::vector<pid_t>& ids, bool is_tree = false,
                const std::set<pid_t>& known_taken = {});

// The same where the calling process is to become the program. Throws also if it cannot: because it has other threads
// or children, or is the first process of its namespace.
IdPlan plan_ids_of_caller(Ids wanted, const std::vector<pid_t>& ids, bool is_tree = false);

}  // namespace crs::engine
