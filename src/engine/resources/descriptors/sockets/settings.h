// What can be set of a socket, of whatever family: options, buffer sizes, packet filter. One table says which options
// are kept; a new one is a line in it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

// When an option is set again: some decide how a socket is bound, others would disturb while it is filled.
enum class SettingStage { BeforeBinding, Finally };

// Reads them all. Refuses `seen` where a setting cannot be read.
void capture_settings(TableCapture& table, const Seen& seen, image::SocketSettings& settings);

// Throws Damaged for settings that cannot be.
void check_settings(const image::SocketSettings& settings);

// Sets those of this stage that are not as they should be already. What cannot be set is noted; `name` says of what.
void apply_settings(int socket, const image::SocketSettings& settings, SettingStage stage, std::string_view name,
                    std::vector<std::string>& notes);

// The sizes of its buffers that the program chose, which decide how TCP connects; all of them come with
// SettingStage::Finally.
void apply_buffer_sizes(int socket, const image::SocketSettings& settings, std::string_view name,
                        std::vector<std::string>& notes);

// Gives a socket as much room for sending as it can have, for what is to be put into another's queue through it.
// Afterwards apply_settings() sets the size that it had.
void widen_send_buffer(int socket);

}  // namespace crs::engine
