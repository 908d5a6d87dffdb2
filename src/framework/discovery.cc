#include "framework/discovery.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/thrown.h"
#include "framework/c_interface/component.h"
#include "framework/components.h"
#include "framework/installed_tree.h"
#include "framework/object_file.h"

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
    name += std::isalnum(byte) != 0 && byte < 0x80 ? static_cast<char>(std::tolower(byte)) : '_';
  }
  if (name.size() > 40) name.resize(40);
  return is_component_name(name) ? name : name + "_";
}

// Fit to be shown.
std::string printed(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

std::string loader_words() {
  const char* const words = ::dlerror();  // NOLINT(concurrency-mt-unsafe): only this thread loads anything
  return words == nullptr ? "the loader gives no reason" : words;
}

// How many bytes a symbol of a shared object has, as far as its symbol table says.
std::size_t bytes_behind(const void* address) {
  Dl_info object{};
  void* entry = nullptr;
  if (::dladdr1(address, &object, &entry, RTLD_DL_SYMENT) == 0 || entry == nullptr) return SIZE_MAX;
  const auto& symbol = *static_cast<const ElfW(Sym)*>(entry);
  if (ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT) fail(ErrorKind::Failed, "its crs_component_table is no object");
  return symbol.st_size;
}

// Throws for what the framework relies on.
void check(const Component& component) {
  const std::string name = component.name();
  if (!is_component_name(name)) {
    fail(ErrorKind::Failed, "it calls itself '{:.70}', which is not a name for a component", printed(name));
  }
  if (component.interface_version().minor < 1) return;
  for (const ComponentParameter& parameter : component.parameters()) {
    if (!is_component_name(parameter.name)) {
      fail(ErrorKind::Failed, "'{:.70}' is not a name for a parameter", printed(parameter.name));
    }
  }
}

// Of an object that could be loaded. Throws whatever is wrong with it.
std::unique_ptr<Component> make(void* object, const std::filesystem::path& file, const ProgramOffers& offers) {
  if (const void* const symbol = ::dlsym(object, "crs_component_table"); symbol != nullptr) {
    if (reinterpret_cast<std::uintptr_t>(symbol) % alignof(crs_component) != 0)
      fail(ErrorKind::Failed, "its crs_component_table does not lie as a table must");
    const auto& table = *static_cast<const crs_component*>(symbol);
    const std::size_t bytes = bytes_behind(symbol);
    const InterfaceVersion version = version_of(table, bytes);
    if (version.major != kInterfaceVersion.major) return std::make_unique<Unusable>(name_after(file), "", version);
    return make_c_component(table, bytes, offers);
  }
  const auto* const interface = static_cast<const InterfaceVersion*>(::dlsym(object, "crs_component_interface"));
  const auto maker = reinterpret_cast<Component* (*)()>(::dlsym(object, "crs_make_component"));
  if (interface == nullptr || maker == nullptr) fail(ErrorKind::Failed, "{} holds no component", file.native());
  if (interface->major != kInterfaceVersion.major) {
    return std::make_unique<Unusable>(name_after(file), "", *interface);
  }
  std::unique_ptr<Component> component(maker());
  if (component == nullptr) fail(ErrorKind::Failed, "{} made no component", file.native());
  return component;
}

std::unique_ptr<Component> load(const std::filesystem::path& file, const ProgramOffers& offers) {
  const std::string name = name_after(file);
  try {
    check_object_file(file);
  } catch (const std::exception& problem) {
    return std::make_unique<Unusable>(name, fmt::format("it cannot be loaded: {}", problem.what()));
  }
  void* const object = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (object == nullptr)
    return std::make_unique<Unusable>(name, fmt::format("it cannot be loaded: {}", loader_words()));
  try {
    std::unique_ptr<Component> component = make(object, file, offers);
    check(*component);
    return component;
  } catch (const std::exception& problem) {
    return std::make_unique<Unusable>(name, problem.what());
  } catch (...) {
    if (is_thread_ending()) throw;
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
  directories.push_back(installed_component_directory());
  return directories;
}

std::vector<DiscoveredComponent> discover_components(const std::vector<std::filesystem::path>& directories,
                                                     const ProgramOffers& offers) {
  std::vector<DiscoveredComponent> components;
  std::set<std::string> seen;
  for (const std::filesystem::path& directory : directories) {
    for (const std::filesystem::path& file : objects_in(directory)) {
      if (seen.insert(file.filename().native()).second) components.push_back({load(file, offers), file});
    }
  }
  return components;
}

}  // namespace crs
