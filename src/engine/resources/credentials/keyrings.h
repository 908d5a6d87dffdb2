// Keys that only the program's own keyrings hold (keyrings(7)): they end with it, and nobody can give a key the serial
// number by which the program knows it.
#pragma once

#include <cstdint>
#include <set>

#include "engine/resources/context.h"
#include "engine/tracee/asked_ahead.h"

namespace crs::engine {

// Whether anyone has any (keys beside keyrings): they are those of whoever made them, whatever ids the process has by
// now. If not, it need not be asked.
bool may_hold_keys(Surroundings& surroundings);

// What refuse_keys_of_thread() and, for the main thread, refuse_keys_of_process() are going to ask.
void foresee_keyring_of_thread(Questions& questions);
void foresee_keyrings_of_process(Questions& questions);

// Refuses a thread, or a process, that has keys in a keyring of its own, or in a session's that is not that of CRS.
void refuse_keys_of_thread(CaptureContext& context, RemoteCaller& thread);
void refuse_keys_of_process(CaptureContext& context, RemoteCaller& main);

}  // namespace crs::engine
