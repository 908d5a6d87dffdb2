#include "base/job_name.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace crs {

void check_job_name(std::string_view name) {
  constexpr std::size_t kLongest = 128;
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("._+-").find(static_cast<char>(c)) != std::string_view::npos;
  };
  const bool good = !name.empty() && name.size() <= kLongest &&
                    std::isalnum(static_cast<unsigned char>(name[0])) != 0 && std::ranges::all_of(name, allowed);
  if (!good) {
    throw Error(ErrorKind::Usage, fmt::format("'{}' is not a job name", name))
        .advise("A job name has up to 128 letters, digits and ._+- and starts with a letter or digit");
  }
}

void check_chosen_job_name(std::string_view name) {
  check_job_name(name);
  if (std::ranges::all_of(name, [](unsigned char c) { return std::isdigit(c) != 0; })) {
    throw Error(ErrorKind::Usage, fmt::format("'{}' would be taken for a process id", name))
        .advise("Let the job's name have a letter");
  }
}

}  // namespace crs
