#include "framework/installed_tree.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

namespace crs {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOwnDirectory = "crs";  // below the directories for libraries and for internal programs

// The program or the shared object that holds this code; empty if it is not to be found (any more).
fs::path own_file() {
  Dl_info info{};
  void* entry = nullptr;
  if (::dladdr1(reinterpret_cast<const void*>(&own_file), &info, &entry, RTLD_DL_LINKMAP) == 0) return {};
  const auto* const object = static_cast<const link_map*>(entry);
  // The name of the program itself is the one that it was called by, which leads nowhere once it has changed its
  // directory (dladdr(3)); in a static program there is no link map.
  const bool is_shared_object = object != nullptr && object->l_name != nullptr && *object->l_name != '\0';
  std::error_code problem;
  const fs::path file = fs::canonical(is_shared_object ? object->l_name : "/proc/self/exe", problem);
  return problem ? fs::path() : file;
}

// `directory` without `end`, of which it has to consist at its end; else empty.
fs::path without_end(fs::path directory, const fs::path& end) {
  for (fs::path rest = end; !rest.empty(); rest = rest.parent_path(), directory = directory.parent_path()) {
    if (rest.is_absolute() || directory.filename() != rest.filename()) return {};
  }
  return directory;
}

// Where `relative` is in the tree that this code stands in; else empty.
fs::path in_own_tree(const fs::path& relative) {
  const fs::path directory = own_file().parent_path();
  const std::array places = {fs::path(CRS_BINDIR), fs::path(CRS_LIBDIR), fs::path(CRS_LIBEXECDIR) / kOwnDirectory};
  for (const fs::path& place : places) {
    const fs::path prefix = without_end(directory, place);
    std::error_code problem;
    if (!prefix.empty() && fs::exists(prefix / relative, problem)) return prefix / relative;
  }
  return {};
}

std::string program(const fs::path& relative) {
  fs::path configured = fs::path(CRS_PREFIX) / relative;
  for (const fs::path& file : {in_own_tree(relative), configured}) {
    if (!file.empty() && ::access(file.c_str(), X_OK) == 0) return file.native();
  }
  return "";
}

// The same of the tree of the crs in PATH.
fs::path in_tree_in_path(const fs::path& relative) {
  std::error_code problem;
  const fs::path command = fs::canonical(crs_in_path(), problem);
  if (problem) return {};
  const fs::path prefix = without_end(command.parent_path(), CRS_BINDIR);
  return !prefix.empty() && fs::exists(prefix / relative, problem) ? prefix / relative : fs::path();
}

}  // namespace

std::string crs_in_path() {
  const char* path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): as execvp(3)
  std::string_view rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::string file = std::string(rest.substr(0, end)) + "/crs";
    // A relative directory leads elsewhere when the program has changed its own.
    if (file.front() == '/' && ::access(file.c_str(), X_OK) == 0) return file;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return "";
}

fs::path installed_component_directory() {
  const fs::path relative = fs::path(CRS_LIBDIR) / kOwnDirectory;
  const fs::path configured = fs::path(CRS_PREFIX) / relative;
  if (fs::path own = in_own_tree(relative); !own.empty()) return own;
  std::error_code problem;
  if (fs::exists(configured, problem)) return configured;
  const fs::path in_path = in_tree_in_path(relative);
  return in_path.empty() ? configured : in_path;
}

std::string installed_crs() { return program(fs::path(CRS_BINDIR) / "crs"); }

std::string installed_internal_program(const std::string& name) {
  return program(fs::path(CRS_LIBEXECDIR) / kOwnDirectory / name);
}

}  // namespace crs
