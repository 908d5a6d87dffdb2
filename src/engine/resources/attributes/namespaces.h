// The namespaces (namespaces(7)) of a process, compared with those of CRS.
#pragma once

#include <functional>
#include <string_view>

#include "engine/resources/context.h"

namespace crs::engine {

// Refuses a process that lives in another namespace than CRS, since a restarted one lives where CRS restarts it.
// `made_by_restart` is asked for each kind ("user", "pid", "mnt", ...) that differs, and says whether an earlier
// restart of this program made that namespace. Threads that are in another namespace than their process are refused in
// any case. Time namespaces are the clocks' (resources/clocks).
void check_namespaces(CaptureContext& context, const std::function<bool(std::string_view kind)>& made_by_restart);

}  // namespace crs::engine
