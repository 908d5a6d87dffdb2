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

// The kernel itself takes a key for memory that may only be executed (pkeys(7)).
bool has_key(const Area& area) { return area.protection_key() != 0 && area.protection() != PROT_EXEC; }

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

void AreaSettings::Calls::add(const Area& area, long number, std::uint64_t third) {
  areas.push_back(&area);
  calls.push_back({number, {area.start(), range_of(area).size(), third}, RemoteCaller::kReturned});
}

template <typename Action>
void AreaSettings::make(std::string_view name, const Calls& calls, const Action& action) {
  const auto results = context_.remote.call_all(name, calls.calls, RemoteCaller::Answer::OfThread);
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::int64_t result = RemoteCaller::returned(results[i]);
    action(*calls.areas[i], result < 0 ? static_cast<int>(-result) : 0);
  }
}

void AreaSettings::add_advice(const Area& area, Calls& calls) const {
  for (const AreaProperty& property : area_properties()) {
    if (property.advice && has_property(area, property.property))
      calls.add(area, SYS_madvise, static_cast<std::uint64_t>(*property.advice));
  }
}

// EINVAL: this kernel is configured without the feature.
void AreaSettings::advise(const Calls& calls) {
  std::size_t number = 0;
  make("madvise", calls, [&](const Area&, int problem) {
    const auto advice = static_cast<int>(calls.calls[number++].arguments[2]);
    if (problem == EINVAL) {
      const auto known = std::ranges::find(area_properties(), std::optional(advice), &AreaProperty::advice);
      note_once(
          fmt::format("this kernel does not know the memory advice {}", image::Area::Property_Name(known->property)));
    } else if (problem != 0) {
      fail_errno(problem, "madvise");
    }
  });
}

void AreaSettings::advise(const image::Memory& image) {
  Calls calls;
  for (const Area& area : image.areas()) add_advice(area, calls);
  advise(calls);
}

void AreaSettings::advise(const Area& area) {
  Calls calls;
  add_advice(area, calls);
  advise(calls);
}

void AreaSettings::finish(const image::Memory& image, const std::vector<bool>& changed) {
  Calls protections;
  for (int i = 0; i < image.areas_size(); ++i) {
    const Area& area = image.areas(i);
    if (!has_key(area) && changed[static_cast<std::size_t>(i)]) protections.add(area, SYS_mprotect, area.protection());
  }
  make("mprotect", protections, [](const Area& area, int problem) {
    if (problem != 0) fail_errno(problem, "the memory at {:#x}: mprotect", area.start());
  });
  for (const Area& area : image.areas()) {
    in_context(fmt::format("the memory at {:#x}", area.start()), [&] {
      set_key(area);
      name(area);
    });
  }
  for (const image::AddressRange& guard : image.guards()) {
    context_.remote.call("madvise (guard pages)", SYS_madvise, guard.start(), guard.end() - guard.start(),
                         kAdviceGuardInstall);
  }
  lock(image);
  seal(image);
}

void AreaSettings::lock(const image::Memory& image) {
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
}

void AreaSettings::seal(const image::Memory& image) {
  for (const Area& area : image.areas()) {
    if (!has_property(area, Area::SEALED)) continue;
    if (const int problem = call(kMseal, area)) {
      note_once(fmt::format("sealed memory could not be sealed again (mseal: {})", ::strerrordesc_np(problem)));
    }
  }
}

void AreaSettings::set_key(const Area& area) {
  if (!has_key(area)) return;
  allocate_keys_up_to(area.protection_key());
  if (const int problem = call(SYS_pkey_mprotect, area, area.protection(), area.protection_key()))
    fail_errno(problem, "pkey_mprotect");
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
