// Its constructor reports an error of crs's own kind.
#include "crs/component.hpp"

namespace {

class Unmakeable : public crs::Component {
 public:
  Unmakeable() { throw crs::Error(crs::ErrorKind::Failed, "no licence was found"); }
  std::string name() const override { return "unmakeable"; }
  std::string version() const override { return ""; }
  std::string description() const override { return ""; }
  crs::Capabilities capabilities() const override { return {}; }
  crs::QueryResult query() override { return {nullptr, 0, ""}; }
};

}  // namespace

CRS_COMPONENT(Unmakeable);
