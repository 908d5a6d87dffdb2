// What a forger may write below right checksums, each with what a restart must say to it.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "opened_snapshot.h"

namespace crs::test {

inline constexpr int kFailed = 1;
inline constexpr int kDamaged = 4;
inline constexpr std::uint64_t kPage = 4096;
inline constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();
using Snapshot = OpenedSnapshot;

struct Forgery {
  std::string name;
  int exit_status;   // of `crs restart`
  std::string says;  // a part of its message
  std::function<void(OpenedSnapshot&)> apply;
};

const std::vector<Forgery>& forgeries();

}  // namespace crs::test
