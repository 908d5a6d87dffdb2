// All of libcrs. C++17.
#pragma once

#include "crs/component.hpp"
#include "crs/critical_sections.hpp"
#include "crs/error.hpp"
#include "crs/layer.hpp"
#include "crs/ledger.hpp"
#include "crs/service.hpp"
#include "crs/state.hpp"
