// Everything that it is asked, but for its name, goes wrong, and not with an exception that anyone expects.
#include "crs/component.hpp"

namespace {

class Throwing : public crs::Component {
 public:
  std::string name() const override { return "throwing"; }
  std::string version() const override { throw 1; }
  std::string description() const override { throw 2; }
  crs::Capabilities capabilities() const override { throw 3; }
  crs::QueryResult query() override { throw 4; }
};

}  // namespace

CRS_COMPONENT(Throwing);
