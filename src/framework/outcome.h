// Whether a component did with the program what was asked of its checkpoint().
#pragma once

#include <optional>
#include <string>

#include "crs/component.hpp"

namespace crs {

// What it did not do, in words; nothing if all is as it was asked. A program that was to go on must not be ended for
// what a component says.
inline std::optional<std::string> not_as_asked(AfterCheckpoint after, State outcome) {
  if (outcome == State::Term && after != AfterCheckpoint::Kill)
    return "the component says that the program ends, which nobody asked for";
  if (outcome == State::Continue && after == AfterCheckpoint::Kill)
    return "the component has let the program go on, which was to end";
  return std::nullopt;
}

}  // namespace crs
