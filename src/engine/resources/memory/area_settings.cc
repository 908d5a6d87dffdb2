#include "engine/resources/memory/area_settings.h"

#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/memory/address_space.h"
#include "engine/resources/memory/area_properties.h"

namespace crs::engine {
namespace {

using image::Area;

// Linux 6.13 and 6.10, which the headers at hand may not have yet.
constexpr int kAdviceGuardInstall = 102;
constexpr long kMseal = 462;

bool has_guards(const image::Memory& image, const Area& area) {
  return std::ranges::any_of(
      image.guards(), [&](const image::AddressRange& guard) { return range_of(guard).overlaps(range_of(area)); });
}

}  // namespace

int AreaSettings::call(long number, const Area& area, std::uint64_t third, std::uint64_t fourth) {
  const std::int64_t result =
      context_.remote.raw_call(number, {area.start(), range_of(area).size(), third, fourth, 0, 0});
  return result < 0 ? static_cast<int>(-result) : 0;
}

void AreaSettings::note_once(std::string text) {
  if (noted_.insert(text).second) context_.notes.push_back(std::move(text));
}

void AreaSettings::advise(const Area& area) {
  for (const AreaProperty& property : area_properties()) {
    if (!property.advice || !has_property(area, property.property)) continue;
    const int problem = call(SYS_madvise, area, static_cast<std::uint64_t>(*property.advice));
    // EINVAL: this kernel is configured without the feature.
    if (problem == EINVAL) {
      note_once(
          fmt::format("this kernel does not know the memory advice {}", image::Area::Property_Name(property.property)));
    } else if (problem != 0) {
      fail_errno(problem, "madvise");
    }
  }
}

void AreaSettings::finish(const image::Memory& image, const std::vector<bool>& changed) {
  for (int i = 0; i < image.areas_size(); ++i) {
    const Area& area = image.areas(i);
    in_context(fmt::format("the memory at {:#x}", area.start()), [&] {
      protect(area, changed[static_cast<std::size_t>(i)]);
      name(area);
    });
  }
  for (const image::AddressRange& guard : image.guards()) {
    context_.remote.call("madvise (guard pages)", SYS_madvise, guard.start(), guard.end() - guard.start(),
                         kAdviceGuardInstall);
  }
  for (const Area& area : image.areas()) {
    if (!has_property(area, Area::LOCKED)) continue;
    if (const int problem = call(SYS_mlock2, area, has_property(area, Area::LOCK_ON_FAULT) ? MLOCK_ONFAULT : 0)) {
      // Pages that cannot be touched are not brought in, but the area is locked all the same.
      const bool untouchable = (area.protection() & PROT_READ) == 0 || has_guards(image, area);
      if (problem == ENOMEM && untouchable) continue;
      note_once(fmt::format("locked memory could not be locked again (mlock: {}); see ulimit -l",
                            ::strerrordesc_np(problem)));
    }
  }
  for (const Area& area : image.areas()) {
    if (!has_property(area, Area::SEALED)) continue;
    if (const int problem = call(kMseal, area)) {
      note_once(fmt::format("sealed memory could not be sealed again (mseal: {})", ::strerrordesc_np(problem)));
    }
  }
}

void AreaSettings::protect(const Area& area, bool changed) {
  // The kernel itself takes a key for memory that may only be executed (pkeys(7)).
  const bool has_key = area.protection_key() != 0 && area.protection() != PROT_EXEC;
  if (has_key) {
    allocate_keys_up_to(area.protection_key());
    if (const int problem = call(SYS_pkey_mprotect, area, area.protection(), area.protection_key()))
      fail_errno(problem, "pkey_mprotect");
  } else if (changed) {
    if (const int problem = call(SYS_mprotect, area, area.protection())) fail_errno(problem, "mprotect");
  }
}

// pkey_alloc(2) gives the lowest free key.
void AreaSettings::allocate_keys_up_to(unsigned key) {
  while (highest_key_ < static_cast<int>(key)) {
    highest_key_ = static_cast<int>(context_.remote.call("pkey_alloc", SYS_pkey_alloc, 0, 0));
  }
}

void AreaSettings::name(const Area& area) {
  if (area.name().empty()) return;
  RemoteCaller& remote = context_.remote;
  remote.memory().write(remote.scratch(), as_byte_span(std::string_view(area.name().c_str(), area.name().size() + 1)));
  const std::int64_t result = remote.raw_call(
      SYS_prctl, {PR_SET_VMA, PR_SET_VMA_ANON_NAME, area.start(), range_of(area).size(), remote.scratch().value, 0});
  if (result < 0) note_once("this kernel does not know names of memory areas (PR_SET_VMA_ANON_NAME)");
}

}  // namespace crs::engine
