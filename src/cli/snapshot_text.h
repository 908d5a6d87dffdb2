// Snapshots as text and as JSON, as several verbs show them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/json.h"
#include "crs/component.hpp"
#include "store/layer_times.h"
#include "store/store.h"

namespace crs::cli {

Json json_of(const std::vector<LayerTime>& times);

// What the program's layers needed, phase by phase: before the snapshot (the manifest knows), after it, and at the last
// restart from it (where that is known, `times`). Empty for a program without layers.
std::string layers_text(const store::Manifest& manifest, const std::optional<store::LayerTimes>& times);
Json layers_json(const std::optional<store::LayerTimes>& times);

Json json_of(const std::vector<Pass>& passes);
Json json_of(const store::Manifest& manifest);
// Reference, location and either the manifest's content or its damage.
Json json_of(const SnapshotInfo& snapshot);

// Everything of a manifest, a line a fact.
std::string text_of(const SnapshotInfo& snapshot);
// The program's command line as a shell takes it.
std::string command_of(const store::Manifest& manifest);

}  // namespace crs::cli
