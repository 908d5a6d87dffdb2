// Whether this machine and this user can take a program's memory.
#pragma once

#include <cstdint>
#include <string_view>

namespace crs::engine {

// In bytes; ~0: no limit.
struct MemorySupply {
  std::uint64_t available = ~std::uint64_t{0};    // physical memory that can be had now, and free swap
  std::uint64_t group_limit = ~std::uint64_t{0};  // of the control group
  std::uint64_t commit_room =
      ~std::uint64_t{0};  // left to commit, where overcommitting is forbidden (vm.overcommit_memory = 2)
  std::uint64_t address_space = ~std::uint64_t{0};  // RLIMIT_AS
  std::uint64_t data = ~std::uint64_t{0};           // RLIMIT_DATA
  std::uint64_t areas = ~std::uint64_t{0};          // vm.max_map_count
};

struct MemoryDemand {
  std::uint64_t content = 0;        // bytes of page data
  std::uint64_t committed = 0;      // bytes of writable private and of shared memory without MAP_NORESERVE
  std::uint64_t address_space = 0;  // bytes of all areas
  std::uint64_t data = 0;           // bytes of writable private areas but stacks
  std::uint64_t areas = 0;
};

// The present state, as seen by the caller.
MemorySupply memory_supply();

// How many areas a restart needs room for that makes so many, and how many a process may have here (vm.max_map_count).
std::uint64_t areas_needed_for(std::uint64_t areas);
std::uint64_t area_limit();

// Of the text of /proc/meminfo. `overcommit` is vm.overcommit_memory.
void parse_meminfo(std::string_view text, int overcommit, MemorySupply& supply);

// Throws what is too little, with both numbers.
void check_supply(const MemoryDemand& demand, const MemorySupply& supply);

}  // namespace crs::engine
