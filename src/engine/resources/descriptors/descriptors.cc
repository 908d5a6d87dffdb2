#include "engine/resources/descriptors/descriptors.h"

namespace crs::engine {

void capture_descriptors(CaptureContext& /*context*/, image::Descriptors& /*image*/) {}
void check_descriptors(CheckContext& /*context*/, const image::Descriptors& /*image*/) {}
void restore_descriptors_inside(NewbornContext& /*context*/, const image::Descriptors& /*image*/) {}
void activate_descriptors(RestoreContext& /*context*/, const image::Descriptors& /*image*/) {}
void commit_set_aside(const RestartOptions& /*options*/, const image::Descriptors& /*image*/,
                      std::vector<std::string>& /*notes*/) {}
int highest_descriptor(const image::Descriptors& /*image*/) { return 2; }
int private_descriptors_needed(const image::Descriptors& image) {
  return kOtherPrivateDescriptors + image.objects_size();
}

}  // namespace crs::engine
