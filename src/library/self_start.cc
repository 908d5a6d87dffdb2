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
    std::fprintf(stderr, "crs: this program has no service: %s\n", problem.what());
    if (crs::self::restarted_from()) ::_exit(1);
  }
}
