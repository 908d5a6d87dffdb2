// What was thrown, when it may be anything.
#pragma once

#include <exception>
#include <string>

namespace crs {

// Inside a handler of anything: whether it is the runtime that ends the thread (pthread_exit(3), pthread_cancel(3)),
// which must not be kept from it: `throw;` lets it go on.
inline bool is_thread_ending() noexcept { return std::current_exception() == nullptr; }

// Inside a handler of anything: what was thrown, as text. Ask is_thread_ending() first.
std::string words_of_current_exception();

}  // namespace crs
