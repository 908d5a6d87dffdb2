// The name of a snapshot: JOB@SEQ, or JOB alone for its newest complete snapshot.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace crs {

struct Reference {
  std::string job;
  std::optional<std::uint64_t> sequence;

  // Throws an Error of kind Usage for anything that is not a reference.
  static Reference parse(std::string_view text);
  std::string to_string() const;
};

// 1 to 128 characters out of letters, digits and "._+-", the first one a letter or digit. Throws an Error of kind Usage
// otherwise.
void check_job_name(std::string_view name);

}  // namespace crs
