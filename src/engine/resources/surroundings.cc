#include "engine/resources/surroundings.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {

std::string namespace_of(pid_t id, std::string_view kind) {
  try {
    return read_link(fmt::format("/proc/{}/ns/{}", id, kind));
  } catch (const Error& error) {
    if (error.error_number() != ENOENT || ::access(fmt::format("/proc/{}/ns", id).c_str(), F_OK) != 0) throw;
    return {};
  }
}

std::string security_label_of(pid_t pid) {
  try {
    std::string label = read_task_file(pid, "attr/current");
    label.erase(std::ranges::find_if(label, [](char c) { return c == '\n' || c == '\0'; }), label.end());
    return label;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::ProgramGone) throw;
    return {};
  }
}

const ProcessStatus& Surroundings::own_status() {
  if (!status_) status_ = ProcessStatus::of(::getpid());
  return *status_;
}

const std::string& Surroundings::own_namespace(std::string_view kind) {
  const auto known = namespaces_.find(kind);
  if (known != namespaces_.end()) return known->second;
  return namespaces_.emplace(kind, namespace_of(::getpid(), kind)).first->second;
}

const std::string& Surroundings::own_security_label() {
  if (!label_) label_ = security_label_of(::getpid());
  return *label_;
}

}  // namespace crs::engine
