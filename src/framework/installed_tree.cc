#include "framework/installed_tree.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <array>

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
  const fs::path configured = fs::path(CRS_PREFIX) / relative;
  for (const fs::path& file : {in_own_tree(relative), configured}) {
    if (!file.empty() && ::access(file.c_str(), X_OK) == 0) return file.native();
  }
  return "";
}

}  // namespace

fs::path installed_component_directory() {
  const fs::path relative = fs::path(CRS_LIBDIR) / kOwnDirectory;
  const fs::path own = in_own_tree(relative);
  return own.empty() ? fs::path(CRS_PREFIX) / relative : own;
}

std::string installed_crs() { return program(fs::path(CRS_BINDIR) / "crs"); }

std::string installed_internal_program(const std::string& name) {
  return program(fs::path(CRS_LIBEXECDIR) / kOwnDirectory / name);
}

}  // namespace crs
