// The function behind crs/self_start.h, which is not included: whoever includes it is started.
#include <unistd.h>

#include <cstdio>
#include <exception>

#include "crs/crs.hpp"
#include "crs/self.hpp"

extern "C" __attribute__((visibility("default"))) void crs_self_start();

void crs_self_start() {
  try {
    if (!crs::is_initialized()) crs::init();
  } catch (const std::exception& problem) {
    const std::optional<std::string> from = crs::self::restarted_from();
    if (from) {
      std::fprintf(stderr, "crs: this program could not come back from %s: %s\n", from->c_str(), problem.what());
      ::_exit(1);
    }
    std::fprintf(stderr, "crs: this program has no service: %s\n", problem.what());
  }
}
