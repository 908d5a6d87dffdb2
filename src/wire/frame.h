// One message as bytes: a CBOR map (RFC 8949) with the protocol's version and the message's type. Functions without
// state.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace crs::wire {

using Message = nlohmann::json;

// Both sides name the version they speak in every message. A program keeps the library that it was started with for
// weeks: it meets a crs that is newer.
inline constexpr unsigned kProtocolVersion = 1;
inline constexpr std::size_t kLongestMessage = std::size_t{8} << 20;  // command lines are part of some (execve(2))

// Throws an Error if the message is longer than kLongestMessage.
std::string encode(const Message& message);

// The bytes come from another process and are hostile until checked: throws an Error that says what is wrong unless
// they are one map, in the subset of CBOR that encode() writes, of this version, with a type.
Message decode(std::string_view bytes);

}  // namespace crs::wire
