// What the processes of a program are compared with in a checkpoint: this process, which stays as it is meanwhile.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "engine/procfs/status.h"

namespace crs::engine {

// Where /proc/ID/ns/KIND leads (namespaces(7)); empty where this kernel does not have that kind.
std::string namespace_of(pid_t id, std::string_view kind);

// The label of AppArmor, SELinux and the like; empty without a security module that has labels.
std::string security_label_of(pid_t pid);

// Each is asked for once. Not thread-safe.
class Surroundings {
 public:
  const ProcessStatus& own_status();
  const std::string& own_namespace(std::string_view kind);
  const std::string& own_security_label();

 private:
  std::optional<ProcessStatus> status_;
  std::map<std::string, std::string, std::less<>> namespaces_;
  std::optional<std::string> label_;
};

}  // namespace crs::engine
