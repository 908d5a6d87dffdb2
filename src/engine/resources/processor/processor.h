// What a snapshot asks of the processor it is restarted on.
//
// A C library chooses code for the processor when a program starts, and so do many other libraries. What was chosen
// stays chosen in a snapshot. So every feature that the first processor has, that code in user space can use and that
// would make it fail or compute something else where it is missing, must be there at the restart.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/resources/context.h"

namespace crs::engine {

// The features of this machine's processors that a program may be using, by their names in /proc/cpuinfo, sorted; then
// the components of extended state that programs may use, as "xstateN@OFFSET+BYTES" (their place in XSAVE's standard
// form).
std::vector<std::string> processor_features();
// Of the text of a /proc/cpuinfo: its first processor's flags, as far as they count.
std::vector<std::string> features_in(std::string_view cpuinfo);

// Throws an Error of kind Refused that names what of `required` this machine lacks. Names that this version does not
// know count too.
void check_processor(const std::vector<std::string>& required);
// The same against the features `present`.
void check_processor(const std::vector<std::string>& required, const std::vector<std::string>& present);

// Refuses programs that are not of this processor's 64-bit kind: by their executable's ELF header and by the code
// segment that the stopped main thread runs in.
void refuse_foreign_code(CaptureContext& context);

}  // namespace crs::engine
