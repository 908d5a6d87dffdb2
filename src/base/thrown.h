// What was thrown, when it may be anything.
#pragma once

#include <exception>
#include <string>

namespace crs {

// Inside a handler of anything: whether nothing was thrown, but the runtime ends the thread (pthread_exit(3),
// pthread_cancel(3)). It must not be kept from that: whoever handles it throws it on with `throw;`, and is in no other
// handler. (A handler of abi::__forced_unwind would do as well, but for sanitizers, which miss the object there.)
inline bool is_thread_ending() noexcept { return std::current_exception() == nullptr; }

// Inside a handler of anything, unless is_thread_ending(): what was thrown, as text.
std::string words_of_current_exception();

}  // namespace crs
