#include "service/code_place.h"

#include <link.h>

namespace crs {
namespace {

struct Search {
  std::uintptr_t address = 0;
  bool found = false;
  std::string object = {};
  std::uintptr_t base = 0;
  unsigned long long unloaded = 0;
};

bool holds(const dl_phdr_info& info, std::uintptr_t address) {
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const auto& segment = info.dlpi_phdr[i];
    const std::uintptr_t start = info.dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && address >= start && address - start < segment.p_memsz) return true;
  }
  return false;
}

int look_at(dl_phdr_info* info, std::size_t /*size*/, void* data) {
  auto& search = *static_cast<Search*>(data);
  search.unloaded = info->dlpi_subs;
  if (!holds(*info, search.address)) return 0;
  search.found = true;
  search.object = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  search.base = info->dlpi_addr;
  return 1;
}

// Not dladdr(3): that waits for a thread that is loading an object, whose constructors may wait for the checkpoint that
// asks here.
Search look_for(const void* address) {
  Search search{.address = reinterpret_cast<std::uintptr_t>(address)};
  ::dl_iterate_phdr(look_at, &search);
  return search;
}

}  // namespace

CodePlace::CodePlace(const void* address) : address_(address) {
  Search search = look_for(address);
  known_ = search.found;
  object_ = std::move(search.object);
  base_ = search.base;
  unloaded_ = search.unloaded;
}

bool CodePlace::is_there() const {
  if (!known_) return true;
  const Search now = look_for(address_);
  if (now.unloaded == unloaded_) return true;
  return now.found && now.base == base_ && now.object == object_;
}

}  // namespace crs
