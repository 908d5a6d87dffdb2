// What was thrown, when it may be anything.
#pragma once

#include <string>

namespace crs {

// Inside a handler of anything: what was thrown, as text. The runtime must not be kept from ending a thread
// (pthread_exit(3), pthread_cancel(3)): handle abi::__forced_unwind first.
std::string words_of_current_exception();

}  // namespace crs
