// Throwing and enriching crs::Error.
//
// Errors are thrown. A function that adds knowledge ("on descriptor 7 of process 4711") catches by reference, calls
// add_context and rethrows with `throw;`, or uses in_context(). A traced program that dies is an ordinary Error of kind
// ProgramGone.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "crs/error.hpp"

namespace crs {

template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

// Throws with the words of `error_number` after the formatted text.
template <typename... Args>
[[noreturn]] void fail_errno(int error_number, fmt::format_string<Args...> format, Args&&... args) {
  throw Error::from_errno(fmt::format(format, std::forward<Args>(args)...), error_number);
}

// Runs `action`; an Error that leaves it carries `circumstance` as its outer context.
template <typename Action>
decltype(auto) in_context(std::string_view circumstance, Action&& action) {
  try {
    return std::forward<Action>(action)();
  } catch (Error& error) {
    error.add_context(std::string(circumstance));
    throw;
  }
}

}  // namespace crs
