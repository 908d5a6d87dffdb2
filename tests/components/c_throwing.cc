// Has the C interface and an exception that gets out of it.
#include <stdexcept>

#include "crs/component.h"

namespace {

int query(const crs_component_host*, crs_component_answer*) { throw std::runtime_error("thrown out of C"); }

crs_component make_table() {
  crs_component table{};
  table.size = sizeof table;
  table.major = CRS_COMPONENT_MAJOR;
  table.minor = CRS_COMPONENT_MINOR;
  table.name = "c_throwing";
  table.version = "1";
  table.description = "Throws";
  table.query = query;
  return table;
}

}  // namespace

const crs_component crs_component_table = make_table();
