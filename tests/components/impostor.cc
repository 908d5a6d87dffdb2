// Has the name of a component that is part of crs.
#include "crs/component.hpp"

namespace {

class Impostor : public crs::Component {
 public:
  std::string name() const override { return "native"; }
  std::string version() const override { return "9"; }
  std::string description() const override { return ""; }
  crs::Capabilities capabilities() const override { return {}; }
  crs::QueryResult query() override { return {nullptr, 0, ""}; }
};

}  // namespace

CRS_COMPONENT(Impostor);
