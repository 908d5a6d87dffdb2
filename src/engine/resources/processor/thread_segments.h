// The three segments that each thread may have of its own (set_thread_area(2)): 32-bit code uses them for thread-local
// storage, and 64-bit code may, too.
#pragma once

#include <sys/types.h>

#include <string>

namespace crs::engine {

// Of a stopped thread: one struct user_desc for each; empty if it has none.
std::string thread_segments_of(pid_t tid);
// Throws an Error of kind Damaged for what cannot be one.
void check_thread_segments(const std::string& segments);
// To be called before registers are set, which may name them. Throws.
void set_thread_segments(pid_t tid, const std::string& segments);

}  // namespace crs::engine
