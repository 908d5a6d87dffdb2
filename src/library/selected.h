// What init() and SelectedModule are both made of: the parameters, the components of a program, and the selected one.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "crs/crs.hpp"
#include "framework/components.h"
#include "framework/parameters.h"
#include "service/serial_module.h"
#include "service/taker_place.h"

namespace crs {

class Selected {
 public:
  explicit Selected(const InitOptions& options);

  // Of the selected component; any thread may call it.
  Module& module() const noexcept { return *serial_; }
  const ComponentStatus& status() const noexcept { return selection_->status(); }
  const HelperOptions& helper() const noexcept { return helper_; }
  TakenBy taken_by() const;
  // For those who wait until a checkpoint is over.
  std::chrono::seconds wait_limit() const { return seconds("crs_wait_limit"); }
  // At which the program wants a checkpoint; or "".
  const std::string& signal() const { return parameters_.string("crs_signal"); }
  // A line for the person in charge.
  void say(const std::string& line) const { output_(line); }

 private:
  // A time limit that is a parameter: at least one, and not over the end of the clock.
  std::chrono::seconds seconds(const std::string& parameter) const;
  Selection select();

  OutputLine output_;
  Parameters parameters_;
  HelperOptions helper_;
  std::unique_ptr<ComponentRegistry> registry_;
  std::unique_ptr<Selection> selection_;
  std::unique_ptr<SerialModule> serial_;
};

}  // namespace crs
