#include "base/thrown.h"

#include <exception>

namespace crs {

std::string words_of_current_exception() {
  try {
    throw;
  } catch (const std::exception& problem) {
    return problem.what();
  } catch (...) {
    return "something was thrown that is no std::exception";
  }
}

}  // namespace crs
