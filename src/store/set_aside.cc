#include "store/set_aside.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

#include "base/error.h"
#include "store/directory_tree.h"

namespace crs {
namespace {

constexpr const char* kSetAsideName = "set-aside";

std::string make_parent(const JobDirectory& job) {
  std::string path = job.path() + "/" + kSetAsideName;
  if (::mkdirat(job.descriptor(), kSetAsideName, 0700) != 0 && errno != EEXIST) {
    throw disk_error(fmt::format("cannot create {}", path), errno);
  }
  // Throws if it is a symbolic link.
  open_directory_if_present(job.descriptor(), kSetAsideName, path);
  return path;
}

std::string timestamp() { return fmt::format("{:%Y%m%dT%H%M%SZ}", fmt::gmtime(std::time(nullptr))); }

}  // namespace

SetAside::SetAside(const JobDirectory& job, std::uint64_t sequence) {
  constexpr int kAttempts = 100;
  for (int attempt = 1; path_.empty(); ++attempt) {
    parent_ = make_parent(job);
    try {
      path_ = parent_ + "/" + make_unique_directory(parent_, fmt::format("{}-{}-", sequence, timestamp()));
    } catch (const Error& error) {
      // Another restart of the job that is just ending may have removed the empty parent.
      if (error.error_number() != ENOENT || attempt == kAttempts) throw;
    }
  }
}

SetAside::~SetAside() {
  if (path_.empty()) return;
  // Both fail with ENOTEMPTY where something was put.
  if (::rmdir(path_.c_str()) == 0) ::rmdir(parent_.c_str());
}

std::string find_set_aside(const JobDirectory& job) {
  const std::string path = job.path() + "/" + kSetAsideName;
  const FileDescriptor directory = open_directory_if_present(job.descriptor(), kSetAsideName, path);
  if (!directory) return {};
  const auto holds_something = [&](const std::string& name) {
    const FileDescriptor of_restart = open_directory_if_present(directory.get(), name, path + "/" + name);
    return of_restart && !names_in(of_restart.get(), path + "/" + name).empty();
  };
  // One that is empty is a restart's that is just going on.
  return std::ranges::any_of(names_in(directory.get(), path), holds_something) ? path : "";
}

}  // namespace crs
