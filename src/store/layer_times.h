// How long the layers of a program took after the commit of a snapshot and at the last restart from it: the small file
// JOB/layers-SEQ beside the snapshot, which itself is never modified. Where it is missing, nothing is known.
//
// Safe between processes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crs/service.hpp"
#include "store/layer_times.pb.h"
#include "store/store.h"

namespace crs {

enum class LayerRound { Checkpoint, Restart };

// Replaces what is known of this round, and keeps the other one. Throws where there is no such snapshot.
void record_layer_times(Store& store, const Reference& snapshot, LayerRound round, const std::vector<LayerTime>& times,
                        const std::vector<std::string>& failures);

// Empty: nothing is known. Throws an Error of kind Damaged for a file that fails its checks.
std::optional<store::LayerTimes> read_layer_times(const Store& store, const Reference& snapshot);

// The name of the file, within the job's directory.
std::string layer_times_name(std::uint64_t sequence);

// The file's content, and its inverse, which throws an Error of kind Damaged.
std::string encode_layer_times(const store::LayerTimes& times);
store::LayerTimes decode_layer_times(std::string_view bytes, std::string_view path);

}  // namespace crs
