// Where a restart keeps what it takes out of the user's files: STORE/JOB/set-aside/SEQ-TIME-XXXXXX, mode 0700.
#pragma once

#include <cstdint>
#include <string>

#include "store/job_directory.h"

namespace crs {

// One such directory. At its end the object removes the directory if it stayed empty; what a restart put there is never
// removed.
class SetAside {
 public:
  SetAside(const JobDirectory& job, std::uint64_t sequence);
  ~SetAside();
  SetAside(SetAside&& other) noexcept : parent_(std::move(other.parent_)), path_(std::exchange(other.path_, {})) {}
  SetAside& operator=(SetAside&&) = delete;
  SetAside(const SetAside&) = delete;
  SetAside& operator=(const SetAside&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string parent_;
  std::string path_;
};

// The path of STORE/JOB/set-aside if something is in it, else empty.
std::string find_set_aside(const JobDirectory& job);

}  // namespace crs
