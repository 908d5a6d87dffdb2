// What a component declares to bring back, by the names that its conformance is told by.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "crs/component.hpp"

namespace crs::cli {

inline std::vector<std::pair<const char*, bool>> kinds_of(const Capabilities& declared) {
  return {{"process_ids", declared.process_ids},
          {"threads", declared.threads},
          {"pipes", declared.pipes},
          {"files", declared.files},
          {"local_sockets", declared.local_sockets},
          {"outside_connections", declared.outside_connections},
          {"dead_sockets", declared.dead_sockets}};
}

// Of the first of them; empty: nothing is.
inline std::string what_is_declared(const Capabilities& declared) {
  for (const auto& [name, is_declared] : kinds_of(declared)) {
    if (is_declared) return std::string("it declares ") + name;
  }
  return "";
}

}  // namespace crs::cli
