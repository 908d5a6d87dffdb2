// What a forger may write below right checksums, each with what a restart must say to it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "opened_snapshot.h"

namespace crs::test {

struct Forgery {
  std::string name;
  int exit_status;   // of `crs restart`
  std::string says;  // a part of its message
  std::function<void(OpenedSnapshot&)> apply;
};

const std::vector<Forgery>& forgeries();

}  // namespace crs::test
