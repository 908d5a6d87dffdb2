// The same in C++: with TIDY the registration ends with the object.
#include <crs/crs.hpp>

namespace {

class Counting : public crs::Layer {
 public:
  explicit Counting(int* told) : told_(told) {}
  crs::Answer notify(crs::State) override {
    ++*told_;
    return crs::Answer::Done;
  }

 private:
  int* told_;
};

#ifdef TIDY
crs::LayerRegistration registration;
#endif

}  // namespace

extern "C" int begin(int* told) {
  static Counting layer(told);
#ifdef TIDY
  registration = crs::register_layer("unloaded", layer);
#else
  static_cast<void>(new crs::LayerRegistration(crs::register_layer("unloaded", layer)));
#endif
  return 0;
}
