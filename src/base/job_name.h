#pragma once

#include <string_view>

namespace crs {

// 1 to 128 characters out of letters, digits and "._+-", the first one a letter or digit. Throws an Error of kind Usage
// otherwise.
void check_job_name(std::string_view name);

// Of one that somebody chooses: not digits alone either, which would be a process id.
void check_chosen_job_name(std::string_view name);

}  // namespace crs
