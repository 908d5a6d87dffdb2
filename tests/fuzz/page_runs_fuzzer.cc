#include <cstddef>
#include <cstdint>

#include "page_runs_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  crs::exercise_page_runs_reader({reinterpret_cast<const char*>(data), size});
  return 0;
}
