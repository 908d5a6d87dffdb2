#include "engine/resources/surroundings.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

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

namespace {

// Of each user in /proc/key-users ("UID: USAGE KEYS/... "), less the keyrings that /proc/keys shows.
std::set<std::uint64_t> find_users_with_keys() {
  std::map<std::uint64_t, std::int64_t> keys;
  std::istringstream users(read_file("/proc/key-users"));
  for (std::string line; std::getline(users, line);) {
    std::istringstream fields(line);
    std::uint64_t user = 0;
    char colon = 0;
    std::int64_t usage = 0;
    std::int64_t number = 0;
    if (fields >> user >> colon >> usage >> number) keys[user] = number;
  }
  std::istringstream shown(read_file("/proc/keys"));
  for (std::string line; std::getline(shown, line);) {
    std::istringstream fields(line);
    std::string ignored;
    std::uint64_t user = 0;
    std::string group;
    std::string type;
    if (fields >> ignored >> ignored >> ignored >> ignored >> ignored >> user >> group >> type && type == "keyring")
      --keys[user];
  }
  std::set<std::uint64_t> found;
  for (const auto& [user, number] : keys) {
    if (number > 0) found.insert(user);
  }
  return found;
}

}  // namespace

const std::set<std::uint64_t>& Surroundings::users_with_keys() {
  // A kernel without keys has no such files.
  if (!users_with_keys_) {
    const bool has_keys = ::access("/proc/key-users", R_OK) == 0 && ::access("/proc/keys", R_OK) == 0;
    users_with_keys_ = has_keys ? find_users_with_keys() : std::set<std::uint64_t>{};
  }
  return *users_with_keys_;
}

}  // namespace crs::engine
