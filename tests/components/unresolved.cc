// The loader refuses it: it needs a function that nobody has.
#include "crs/component.hpp"

extern "C" int a_function_that_nobody_has();

extern "C" __attribute__((visibility("default"))) const crs::InterfaceVersion crs_component_interface{};
extern "C" __attribute__((visibility("default"))) crs::Component* crs_make_component() {
  return a_function_that_nobody_has() != 0 ? nullptr : nullptr;
}
