// Waits until a time of a clock that begins anew at each boot (clock_gettime(2): CLOCK_MONOTONIC, CLOCK_BOOTTIME). They
// go on until that time, which is another one on another machine or after a reboot where the program's clocks do not go
// on (resources/clocks): the user is told.
#pragma once

#include "engine/resources/context.h"
#include "engine/resources/threads/threads.pb.h"

namespace crs::engine {

void capture_boot(image::Threads& threads);
// `another_clock`: that of the program was another than the machine's already.
void note_waits_of_another_boot(std::vector<std::string>& notes, const image::Threads& threads, bool another_clock);

}  // namespace crs::engine
