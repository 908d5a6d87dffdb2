// Signals as people name them.
#pragma once

#include <string>

namespace crs {

// "USR1", "SIGUSR1", "usr1" or "10". Throws an Error for what is no signal, or none that a program may wait for.
int parse_signal(const std::string& text);

// "SIGUSR1".
std::string name_of_signal(int signal);

}  // namespace crs
