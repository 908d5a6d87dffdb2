// What is to be saved of a program's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/tracee/remote_address.h"

namespace crs::engine {

// The largest payload of an extent of pages. Each worker holds one, and as much again for compressing and padding.
inline constexpr std::uint64_t kPagePayload = std::uint64_t{2} << 20;

enum class PageChoice {
  Own,       // the pages that PageScan calls Own
  Existing,  // every page; all can be read
  All,       // every page that can be read; those that cannot (beyond the end of a mapped file) count as zeros
  Given,     // every page; `content` has them already
};

// A part of one area, and how it is to be saved.
struct PageArea {
  RemoteRange range;
  PageChoice choice = PageChoice::Own;
  bool readable = true;     // the program itself may read it
  bool starts_zero = true;  // a fresh area reads as zeros, so that pages of zeros need not be saved
  // Many pages are another process's as well until somebody writes to them. Reading them with process_vm_readv(2) would
  // make a copy of each: it pins them (gup_must_unshare() of the kernel's mm/internal.h). /proc/PID/mem does not.
  bool copied_on_write = false;
  bool in_fork = false;  // a child that the program forked would have the same content there, of its own
  std::shared_ptr<const std::vector<std::byte>> content = {};  // Given: of the range
};

}  // namespace crs::engine
