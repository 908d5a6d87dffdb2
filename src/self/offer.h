// What libcrs offers to component self (crs_component_host.program, "self"): a C interface, since the component is a
// shared object that may have been built with another version of libcrs, or run in a program that holds libcrs itself.
#pragma once

#include <cstddef>
#include <cstdint>

namespace crs::self {

struct OfferedArea {
  std::uint64_t id;
  const void* memory;
  std::size_t bytes;
};

// How a callback answers to whoever called it.
struct OfferedCall {
  void* context;
  void (*fail)(OfferedCall* call, const char* text);
  // What a restart runs; set by the checkpoint callback. Null: the program's own command line, the present directory.
  void (*set_command)(OfferedCall* call, const char* const* arguments, const char* working_directory);
};

// Members are added at the end only.
struct Offer {
  std::size_t size;
  // Calls visit() for each protected area, by number.
  void (*areas)(void (*visit)(void* context, const OfferedArea* area), void* context);
  // Whether the program registered callbacks. Each returns 0, or calls call->fail().
  int (*has_callbacks)();
  int (*checkpoint)(OfferedCall* call);
  int (*go_on)(OfferedCall* call);
  // Whether this is a restarted program, and whether its restart callback has not been called yet: the answer is given
  // once.
  int (*is_restarted)();
  int (*take_restart)();
};

// What this program offers; the same for its whole life.
const Offer* offer();

}  // namespace crs::self
