// The credentials of one thread as a value, and how to change a thread's into them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/procfs/status.h"
#include "engine/resources/credentials/credentials.pb.h"
#include "engine/tracee/remote_caller.h"

namespace crs::engine {

struct UserIds {
  std::uint32_t real = 0;
  std::uint32_t effective = 0;
  std::uint32_t saved = 0;
  std::uint32_t file_system = 0;
  friend bool operator==(const UserIds&, const UserIds&) = default;

  std::array<std::uint32_t, 4> list() const { return {real, effective, saved, file_system}; }
};

struct ThreadCredentials {
  UserIds users;
  UserIds groups;
  std::vector<std::uint32_t> supplementary_groups;  // sorted
  std::uint64_t permitted = 0;
  std::uint64_t effective = 0;
  std::uint64_t inheritable = 0;
  std::uint64_t bounding = 0;
  std::uint64_t ambient = 0;
  std::uint32_t securebits = 0;
  bool no_new_privileges = false;
  friend bool operator==(const ThreadCredentials&, const ThreadCredentials&) = default;
};

// All but the securebits, which only the thread itself can tell.
ThreadCredentials credentials_in(const ProcessStatus& status);
ThreadCredentials credentials_of(RemoteCaller& thread);

void keep_credentials(const ThreadCredentials& credentials, image::ThreadCredentials& kept);
// Throws an Error of kind Damaged for what no kernel can have said.
ThreadCredentials credentials_from(const image::ThreadCredentials& kept);

// Gives `thread` these credentials, with system calls that it makes itself. Throws an Error that names what is not
// permitted. `notes` gets what differs without consequence for a running program, once for all threads.
void change_credentials(RemoteCaller& thread, const ThreadCredentials& wanted, std::vector<std::string>& notes);

}  // namespace crs::engine
