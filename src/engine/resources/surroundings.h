// What the processes of a program are compared with in a checkpoint: this process, which stays as it is meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
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
  // Of the scheduler, for a thread that has none of its own, in nanoseconds; `find` finds it out.
  std::uint64_t time_slice(const std::function<std::uint64_t()>& find) {
    if (!time_slice_) time_slice_ = find();
    return *time_slice_;
  }
  // The user ids (as this process sees them) that have keys beside keyrings (keyrings(7)), or may have: others see
  // only which keys they are permitted to.
  const std::set<std::uint64_t>& users_with_keys();

 private:
  std::optional<ProcessStatus> status_;
  std::map<std::string, std::string, std::less<>> namespaces_;
  std::optional<std::string> label_;
  std::optional<std::uint64_t> time_slice_;
  std::optional<std::set<std::uint64_t>> users_with_keys_;
};

}  // namespace crs::engine
