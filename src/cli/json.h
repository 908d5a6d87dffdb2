// JSON for `--json`: members keep the order in which they are added.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace crs::cli {

using Json = nlohmann::ordered_json;

// Two spaces of indentation, a newline at the end. Bytes that are not UTF-8 (file names may hold any) become U+FFFD.
inline std::string to_text(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

}  // namespace crs::cli
