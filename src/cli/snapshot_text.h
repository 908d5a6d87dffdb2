// Snapshots as text and as JSON, as several verbs show them.
#pragma once

#include <string>
#include <vector>

#include "cli/json.h"
#include "crs/component.hpp"
#include "store/store.h"

namespace crs::cli {

Json json_of(const std::vector<LayerTime>& times);
Json json_of(const std::vector<Pass>& passes);
Json json_of(const store::Manifest& manifest);
// Reference, location and either the manifest's content or its damage.
Json json_of(const SnapshotInfo& snapshot);

// Everything of a manifest, a line a fact.
std::string text_of(const SnapshotInfo& snapshot);
// The program's command line as a shell takes it.
std::string command_of(const store::Manifest& manifest);

}  // namespace crs::cli
