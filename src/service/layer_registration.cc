#include <utility>

#include "base/cancellation.h"
#include "base/error.h"
#include "crs/service.hpp"
#include "service/layer_stack.h"

namespace crs {

LayerRegistration::LayerRegistration(LayerRegistration&& other) noexcept
    : stack_(std::exchange(other.stack_, {})), id_(other.id_) {}

LayerRegistration& LayerRegistration::operator=(LayerRegistration&& other) noexcept {
  if (this != &other) {
    end();
    stack_ = std::exchange(other.stack_, {});
    id_ = other.id_;
  }
  return *this;
}

LayerRegistration::~LayerRegistration() { end(); }

void LayerRegistration::unregister() {
  const CancellationDeferred deferred;
  const auto stack = stack_.lock();
  if (stack && !stack->remove(id_, stack->wait_limit())) {
    const std::chrono::duration<double> limit = stack->wait_limit();
    throw Error(ErrorKind::Failed,
                fmt::format("the layer is being told something, and has not returned within {} s", limit.count()))
        .advise("The parameter crs_wait_limit sets the time limit");
  }
  stack_.reset();
}

void LayerRegistration::end() noexcept {
  const CancellationDeferred deferred;
  if (const auto stack = stack_.lock()) stack->remove(id_);
}

}  // namespace crs
