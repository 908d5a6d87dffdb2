// Can be made, but not even asked for its name.
#include <stdexcept>

#include "crs/component.hpp"

namespace {

class Nameless : public crs::Component {
 public:
  std::string name() const override { throw std::runtime_error("no name was given"); }
  std::string version() const override { return ""; }
  std::string description() const override { return ""; }
  crs::Capabilities capabilities() const override { return {}; }
  crs::QueryResult query() override { return {nullptr, 0, ""}; }
};

}  // namespace

CRS_COMPONENT(Nameless);
