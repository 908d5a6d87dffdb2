// What an area gets by calls of its own, beside being mapped.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "engine/resources/context.h"
#include "engine/resources/memory/memory.pb.h"

namespace crs::engine {

class AreaSettings {
 public:
  explicit AreaSettings(RestoreContext& context) : context_(context) {}

  // madvise(2), as soon as the areas are there: some advice matters for how they are filled.
  void advise(const image::Memory& image);
  void advise(const image::Area& area);
  // When everything is filled: final protection, key and name of each area, `changed` saying which have another
  // protection than the final one; then guard pages, locks and, last, seals.
  void finish(const image::Memory& image, const std::vector<bool>& changed);

 private:
  struct Calls {
    std::vector<const image::Area*> areas;
    std::vector<RemoteCaller::StoringCall> calls;
    void add(const image::Area& area, long number, std::uint64_t third);
  };
  void add_advice(const image::Area& area, Calls& calls) const;
  // Calls `action` with each area and the errno of its call, or 0.
  template <typename Action>
  void make(std::string_view name, const Calls& calls, const Action& action);
  void advise(const Calls& calls);
  void set_key(const image::Area& area);
  void name(const image::Area& area);
  void lock(const image::Memory& image);
  void seal(const image::Memory& image);
  void allocate_keys_up_to(unsigned key);
  // A remote call over the whole area. Returns 0 or the errno.
  int call(long number, const image::Area& area, std::uint64_t third = 0, std::uint64_t fourth = 0);
  void note_once(std::string text);

  RestoreContext& context_;
  std::set<std::string> noted_;
  int highest_key_ = 0;
};

}  // namespace crs::engine
