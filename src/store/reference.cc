#include "store/reference.h"

#include <algorithm>
#include <cctype>
#include <charconv>

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

Reference Reference::parse(std::string_view text) {
  Reference reference;
  const std::size_t at = text.find('@');
  reference.job = std::string(text.substr(0, at));
  check_job_name(reference.job);
  if (at == std::string_view::npos) return reference;
  const std::string_view digits = text.substr(at + 1);
  std::uint64_t sequence = 0;
  const auto [stop, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), sequence);
  if (problem != std::errc{} || stop != digits.data() + digits.size() || sequence == 0) {
    fail(ErrorKind::Usage, "'{}' is not a snapshot: after '{}@' comes a number from 1", text, reference.job);
  }
  reference.sequence = sequence;
  return reference;
}

std::string Reference::to_string() const { return sequence ? fmt::format("{}@{}", job, *sequence) : job; }

}  // namespace crs
