// How a thread is scheduled: policy, priority, allowed processors, I/O priority.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "engine/resources/attributes/attributes.pb.h"
#include "engine/resources/context.h"

namespace crs::engine {

// The calling thread, and what is made by it from now on, has the time slice of the system, whatever it inherited.
void take_time_slice_of_system() noexcept;

// Before the stop: what capture_scheduling() compares with.
void foresee_scheduling(Surroundings& surroundings);
// `tid` is a thread as the caller sees it.
void capture_scheduling(CaptureContext& context, pid_t tid, image::ThreadAttributes& attributes);

// Throws an Error of kind Damaged for what no kernel can have said.
void check_scheduling(const image::ThreadAttributes& attributes);

// A nice value, I/O priority or utilization bound that the caller may not set stays as it is, with a note; a real-time
// or deadline policy that may not be set is an Error. Processors that are missing here are left out, with a note.
void restore_scheduling(pid_t tid, const image::ThreadAttributes& attributes, std::vector<std::string>& notes);

// Adds `note` unless it is there: threads mostly have the same to say.
void add_once(std::vector<std::string>& notes, std::string note);

}  // namespace crs::engine
