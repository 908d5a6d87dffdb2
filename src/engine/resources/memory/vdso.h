// The vDSO: code that the kernel maps into every process and that programs call by addresses they remember. Pure
// functions over its bytes; nothing here trusts them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/tracee/remote_address.h"

namespace crs::engine {

struct VdsoEntry {
  std::string name;  // "__vdso_clock_gettime"
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

// The exported functions of a vDSO image (an ELF shared object); empty for anything that is none.
std::vector<VdsoEntry> vdso_entries(std::span<const std::byte> code);

// `old_code` with every exported entry point that `new_code` has as well replaced by a jump to it: for a program that
// remembers the addresses of `old_code` at `old_place`, on a kernel that brings `new_code` at `new_place`. An entry
// that is new code does not have, or that is too short for the jump, stays as it is: it then finds zeros in place of
// the kernel's data and falls back to system calls.
std::vector<std::byte> lead_to_new_vdso(std::span<const std::byte> old_code, RemoteAddress old_place,
                                        std::span<const std::byte> new_code, RemoteAddress new_place);

}  // namespace crs::engine
