// CRS's side of the C interface: what a component may call, and the way from its statuses to Errors.
#pragma once

#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/thrown.h"
#include "crs/component.h"
#include "crs/component.hpp"

namespace crs {

// What a program offers to the components that work in it, by name (crs_component_host.program).
using ProgramOffers = std::map<std::string, const void*, std::less<>>;

namespace c_interface {

// Safe for use by several threads: each has its own failure.
class Host {
 public:
  Host(std::string component, ProgramOffers offers);
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  const crs_component_host* handle() const noexcept { return &handle_; }
  const std::string& component() const noexcept { return component_; }
  void set_output(ComponentOutput output) { output_ = std::move(output); }
  void set_settings(ComponentSettings settings) { settings_ = std::move(settings); }

  // Calls an operation of the component; throws what the component said was wrong if it returns another status than
  // CRS_COMPONENT_OK, and if it does what no C function can: let an exception out.
  template <typename Call>
  void run(std::string_view operation, Call&& call) {
    static_cast<void>(take_failure());
    int status = CRS_COMPONENT_FAILED;
    try {
      status = call();
    } catch (const std::exception& problem) {
      note_exception(operation, problem.what());
    } catch (...) {
      if (is_thread_ending()) throw;
      note_exception(operation, "of an unknown type");
    }
    check(operation, status);
  }

  // Runs a function of the host's that the component called: what it throws is kept for the end of the operation.
  template <typename Action>
  int guard(Action&& action) {
    try {
      action();
      return CRS_COMPONENT_OK;
    } catch (...) {
      if (is_thread_ending()) throw;
      return keep(std::current_exception());
    }
  }

 private:
  static Host& of(const crs_component_host* handle) { return *static_cast<Host*>(handle->context); }
  static void say(const crs_component_host* handle, int level, const char* line);
  static int fail(const crs_component_host* handle, int status, const char* text, const char* advice);
  static const char* parameter(const crs_component_host* handle, const char* name);
  static const void* program(const crs_component_host* handle, const char* name);

  int keep(const std::exception_ptr& failure) noexcept;
  std::exception_ptr take_failure();
  void note_exception(std::string_view operation, const char* words);
  void check(std::string_view operation, int status);
  const char* parameter_text(const std::string& name);

  std::string component_;
  ProgramOffers offers_;
  ComponentOutput output_;
  ComponentSettings settings_;
  crs_component_host handle_{};
  std::mutex mutex_;
  std::map<std::thread::id, std::exception_ptr> failures_;
  std::map<std::string, std::string> parameter_texts_;  // what the component was given pointers to
};

ErrorKind kind_of_status(int status) noexcept;
int status_of_kind(ErrorKind kind) noexcept;

}  // namespace c_interface
}  // namespace crs
