#include "framework/c_interface/host.h"

#include <utility>

#include "base/error.h"
#include "framework/c_interface/texts.h"
#include "framework/parameters.h"

namespace crs::c_interface {

ErrorKind kind_of_status(int status) noexcept {
  switch (status) {
    case CRS_COMPONENT_USAGE:
      return ErrorKind::Usage;
    case CRS_COMPONENT_NOT_FOUND:
      return ErrorKind::NotFound;
    case CRS_COMPONENT_DAMAGED:
      return ErrorKind::Damaged;
    case CRS_COMPONENT_REFUSED:
      return ErrorKind::Refused;
    case CRS_COMPONENT_PROGRAM_GONE:
      return ErrorKind::ProgramGone;
    default:
      return ErrorKind::Failed;
  }
}

int status_of_kind(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::Usage:
      return CRS_COMPONENT_USAGE;
    case ErrorKind::NotFound:
      return CRS_COMPONENT_NOT_FOUND;
    case ErrorKind::Damaged:
      return CRS_COMPONENT_DAMAGED;
    case ErrorKind::Refused:
      return CRS_COMPONENT_REFUSED;
    case ErrorKind::ProgramGone:
      return CRS_COMPONENT_PROGRAM_GONE;
    case ErrorKind::Failed:
      break;
  }
  return CRS_COMPONENT_FAILED;
}

Host::Host(std::string component, ProgramOffers offers) : component_(std::move(component)), offers_(std::move(offers)) {
  handle_.size = sizeof handle_;
  handle_.major = CRS_COMPONENT_MAJOR;
  handle_.minor = CRS_COMPONENT_MINOR;
  handle_.context = this;
  handle_.say = &Host::say;
  handle_.fail = &Host::fail;
  handle_.parameter = &Host::parameter;
  handle_.program = &Host::program;
}

void Host::say(const crs_component_host* handle, int level, const char* line) {
  const Host& host = of(handle);
  if (!host.output_) return;
  // A line that is no line is not worth failing for.
  try {
    host.output_(level, checked_line(line, kLongestLine, "what it says"));
  } catch (...) {
    if (is_thread_ending()) throw;
  }
}

int Host::fail(const crs_component_host* handle, int status, const char* text, const char* advice) {
  Host& host = of(handle);
  host.guard([&] {
    std::string cause = optional_text(text, kLongestText, "the reason it gives");
    if (cause.empty()) cause = fmt::format("component {} gives no reason", host.component_);
    Error error(kind_of_status(status), std::move(cause));
    if (advice != nullptr) error.advise(checked_text(advice, kLongestText, "the advice it gives"));
    host.keep(std::make_exception_ptr(error));
  });
  // Whoever reports a failure with the status of success has failed.
  return status == CRS_COMPONENT_OK ? CRS_COMPONENT_FAILED : status;
}

const char* Host::parameter_text(const std::string& name) {
  if (!settings_) return nullptr;
  const std::lock_guard lock(mutex_);
  const auto known = parameter_texts_.find(name);
  if (known != parameter_texts_.end()) return known->second.c_str();
  return parameter_texts_.emplace(name, to_text(settings_(name))).first->second.c_str();
}

const char* Host::parameter(const crs_component_host* handle, const char* name) {
  try {
    return of(handle).parameter_text(checked_text(name, kLongestName, "a parameter's name"));
  } catch (...) {
    if (is_thread_ending()) throw;
    return nullptr;
  }
}

const void* Host::program(const crs_component_host* handle, const char* name) {
  try {
    const Host& host = of(handle);
    const auto found = host.offers_.find(checked_text(name, kLongestName, "a program's offer"));
    return found == host.offers_.end() ? nullptr : found->second;
  } catch (...) {
    if (is_thread_ending()) throw;
    return nullptr;
  }
}

int Host::keep(const std::exception_ptr& failure) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    failures_[std::this_thread::get_id()] = failure;
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return status_of_kind(error.kind());
  } catch (...) {
    return CRS_COMPONENT_FAILED;
  }
}

std::exception_ptr Host::take_failure() {
  const std::lock_guard lock(mutex_);
  auto entry = failures_.extract(std::this_thread::get_id());
  return entry.empty() ? nullptr : entry.mapped();
}

void Host::note_exception(std::string_view operation, const char* words) {
  keep(std::make_exception_ptr(Error(ErrorKind::Failed, fmt::format("component {} let an exception out of its {}: {}",
                                                                    component_, operation, words))));
}

void Host::check(std::string_view operation, int status) {
  const std::exception_ptr failure = take_failure();
  if (status == CRS_COMPONENT_OK) return;
  if (failure != nullptr) std::rethrow_exception(failure);
  if (status == CRS_COMPONENT_NOT_SUPPORTED) {
    crs::fail(ErrorKind::Failed, "component {} does not support this: {}", component_, operation);
  }
  crs::fail(kind_of_status(status), "component {} failed at its {} with status {} and did not say why", component_,
            operation, status);
}

}  // namespace crs::c_interface
