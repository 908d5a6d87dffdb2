#include "crs/self_start.h"

#include <unistd.h>

#include <cstdio>
#include <exception>

#include "crs/crs.hpp"
#include "crs/self.hpp"

void crs_self_start(void) {
  try {
    if (!crs::is_initialized()) crs::init();
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "crs: this program has no service: %s\n", problem.what());
    if (crs::self::restarted_from()) ::_exit(1);
  }
}
