// The name of a snapshot: JOB@SEQ, or JOB alone for its newest complete snapshot.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/job_name.h"

namespace crs {

struct Reference {
  std::string job;
  std::optional<std::uint64_t> sequence;

  // Throws an Error of kind Usage for anything that is not a reference.
  static Reference parse(std::string_view text);
  std::string to_string() const;
};

}  // namespace crs
