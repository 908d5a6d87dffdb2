// Built for an interface of long ago: nothing of it may be called.
#include <cstdlib>

#include "crs/component.hpp"

extern "C" __attribute__((visibility("default"))) const crs::InterfaceVersion crs_component_interface{1, 4, 2};
extern "C" __attribute__((visibility("default"))) crs::Component* crs_make_component() { std::abort(); }
