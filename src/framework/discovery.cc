#include "framework/discovery.h"

#include <dlfcn.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string>
#include <string_view>

#include "base/error.h"

namespace crs {
namespace {

// Stands for an object that cannot be used, so that listings and selections say why.
class Unusable final : public Component {
 public:
  Unusable(std::string name, std::string reason, InterfaceVersion interface = kInterfaceVersion)
      : name_(std::move(name)), reason_(std::move(reason)), interface_(interface) {}
  std::string name() const override { return name_; }
  std::string version() const override { return "?"; }
  InterfaceVersion interface_version() const override { return interface_; }
  std::string description() const override { return ""; }
  Capabilities capabilities() const override { return {}; }
  QueryResult query() override { return {nullptr, 0, reason_}; }

 private:
  std::string name_;
  std::string reason_;
  InterfaceVersion interface_;
};

// The file's name as far as it can be a component's.
std::string name_after(const std::filesystem::path& file) {
  const std::string stem = file.stem().string();
  std::string name;
  for (const char c : stem) {
    const auto byte = static_cast<unsigned char>(c);
    name += std::isalnum(byte) != 0 ? static_cast<char>(std::tolower(byte)) : '_';
  }
  return name;
}

std::string loader_words() {
  const char* const words = ::dlerror();  // NOLINT(concurrency-mt-unsafe): only this thread loads anything
  return words == nullptr ? "the loader gives no reason" : words;
}

std::unique_ptr<Component> load(const std::filesystem::path& file) {
  const std::string name = name_after(file);
  void* const object = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (object == nullptr)
    return std::make_unique<Unusable>(name, fmt::format("it cannot be loaded: {}", loader_words()));
  const auto* const interface = static_cast<const InterfaceVersion*>(::dlsym(object, "crs_component_interface"));
  const auto make = reinterpret_cast<Component* (*)()>(::dlsym(object, "crs_make_component"));
  if (interface == nullptr || make == nullptr)
    return std::make_unique<Unusable>(name, fmt::format("{} holds no component", file.native()));
  if (interface->major != kInterfaceVersion.major) return std::make_unique<Unusable>(name, "", *interface);
  try {
    std::unique_ptr<Component> component(make());
    if (component == nullptr)
      return std::make_unique<Unusable>(name, fmt::format("{} made no component", file.native()));
    static_cast<void>(component->name());  // the framework relies on its having one
    return component;
  } catch (const std::exception& problem) {
    return std::make_unique<Unusable>(name, fmt::format("it could not be made: {}", problem.what()));
  } catch (...) {
    return std::make_unique<Unusable>(name, "it could not be made");
  }
}

std::vector<std::filesystem::path> objects_in(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  std::error_code problem;
  for (std::filesystem::directory_iterator entry(directory, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    if (entry->path().extension() == ".so") files.push_back(entry->path());
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace

std::vector<std::filesystem::path> component_directories(const Environment& environment) {
  std::vector<std::filesystem::path> directories;
  const auto path = environment.find("CRS_COMPONENT_PATH");
  std::string_view rest = path == environment.end() ? std::string_view() : path->second;
  while (!rest.empty()) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    // An empty part does not mean the working directory: that would be loading whatever lies there.
    if (colon > 0) directories.push_back(std::filesystem::absolute(rest.substr(0, colon)));
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  directories.emplace_back(CRS_COMPONENT_DIRECTORY);
  return directories;
}

std::vector<std::unique_ptr<Component>> discover_components(const std::vector<std::filesystem::path>& directories) {
  std::vector<std::unique_ptr<Component>> components;
  std::set<std::string> seen;
  for (const std::filesystem::path& directory : directories) {
    for (const std::filesystem::path& file : objects_in(directory)) {
      if (seen.insert(file.filename().native()).second) components.push_back(load(file));
    }
  }
  return components;
}

}  // namespace crs
