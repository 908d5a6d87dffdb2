// The operations of a component with the C interface as a Module.
#pragma once

#include <memory>

#include "crs/component.h"
#include "crs/component.hpp"
#include "framework/c_interface/host.h"

namespace crs::c_interface {

std::unique_ptr<Module> make_module(const crs_component& table, std::shared_ptr<Host> host);

}  // namespace crs::c_interface
