#include "store/reference.h"

#include <charconv>

#include "base/error.h"

namespace crs {

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
