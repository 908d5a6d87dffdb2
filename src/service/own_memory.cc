#include "service/own_memory.h"

#include <pthread.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>

#include "base/error.h"
#include "base/io.h"

namespace crs {
namespace {

struct Mapping {
  MemoryRange range;
  std::uint64_t inode = 0;
  std::string name;
};

// Ascending, as the kernel lists them.
std::vector<Mapping> own_mappings() {
  std::vector<Mapping> mappings;
  std::istringstream lines(read_file("/proc/self/maps"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    Mapping mapping;
    std::string permissions;
    std::string offset;
    std::string device;
    char dash = 0;
    words >> std::hex >> mapping.range.start >> dash >> mapping.range.end >> permissions >> offset >> device;
    words >> std::dec >> mapping.inode >> std::ws;
    std::getline(words, mapping.name);
    mappings.push_back(std::move(mapping));
  }
  return mappings;
}

// Why it cannot read as zero after a restart; empty if it can.
std::string obstacle_in(const Mapping& mapping) {
  const std::string& name = mapping.name;
  if (name == "[stack]") return "it is a stack";
  // Shared anonymous memory is a mapping of a file that nobody can open.
  if (name == "/dev/zero" || name == "/dev/zero (deleted)") return {};
  if (name == "[heap]" || name.starts_with("[anon:") || name.starts_with("[anon_shmem:")) return {};
  if (name.starts_with("[")) return "it is the kernel's: " + name;
  if (mapping.inode != 0 || !name.empty()) return "it is a mapping of " + name;
  return {};
}

bool overlap(const MemoryRange& one, const MemoryRange& other) {
  return one.start < other.end && other.start < one.end;
}

MemoryRange common_part(const MemoryRange& one, const MemoryRange& other) {
  return {std::max(one.start, other.start), std::min(one.end, other.end)};
}

// Nothing where it cannot be told.
std::optional<MemoryRange> own_stack() {
  pthread_attr_t attributes;
  if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) return std::nullopt;
  void* start = nullptr;
  std::size_t size = 0;
  const bool is_known = ::pthread_attr_getstack(&attributes, &start, &size) == 0;
  ::pthread_attr_destroy(&attributes);
  if (!is_known) return std::nullopt;
  const auto first = reinterpret_cast<std::uintptr_t>(start);
  return MemoryRange{first, first + size};
}

[[noreturn]] void refuse(const MemoryRange& range, std::string_view why) {
  throw Error(ErrorKind::Usage,
              fmt::format("the memory at {:#x}-{:#x} cannot be left out: {}", range.start, range.end, why))
      .advise("Only anonymous memory can, private or shared, that no thread uses as its stack (/proc/PID/maps)");
}

}  // namespace

void check_can_be_left_out(const MemoryRange& range) {
  if (const auto stack = own_stack(); stack && overlap(*stack, range))
    refuse(range, "it is the calling thread's stack");
  std::uint64_t next = range.start;
  for (const Mapping& mapping : own_mappings()) {
    if (!overlap(mapping.range, range)) continue;
    const MemoryRange part = common_part(mapping.range, range);
    if (part.start > next) refuse({next, part.start}, "the program has no memory there");
    if (const std::string obstacle = obstacle_in(mapping); !obstacle.empty()) refuse(part, obstacle);
    next = part.end;
  }
  if (next < range.end) refuse({next, range.end}, "the program has no memory there");
}

std::vector<MemoryRange> merged(std::vector<MemoryRange> ranges) {
  std::ranges::sort(ranges, {}, &MemoryRange::start);
  std::vector<MemoryRange> result;
  for (const MemoryRange& range : ranges) {
    if (result.empty() || range.start > result.back().end) {
      result.push_back(range);
    } else {
      result.back().end = std::max(result.back().end, range.end);
    }
  }
  return result;
}

std::vector<MemoryRange> parts_to_leave_out(const std::vector<MemoryRange>& ranges) {
  std::vector<MemoryRange> parts;
  if (ranges.empty()) return parts;
  const std::vector<Mapping> mappings = own_mappings();
  auto first = mappings.begin();  // the first mapping that this range or a later one may touch
  for (const MemoryRange& range : ranges) {
    while (first != mappings.end() && first->range.end <= range.start) ++first;
    for (auto mapping = first; mapping != mappings.end() && mapping->range.start < range.end; ++mapping) {
      if (obstacle_in(*mapping).empty()) parts.push_back(common_part(mapping->range, range));
    }
  }
  return parts;
}

std::vector<MemoryRange> without(const std::vector<MemoryRange>& ranges, const MemoryRange& hole) {
  std::vector<MemoryRange> parts;
  for (const MemoryRange& range : ranges) {
    if (!overlap(range, hole)) {
      parts.push_back(range);
      continue;
    }
    if (range.start < hole.start) parts.push_back({range.start, hole.start});
    if (hole.end < range.end) parts.push_back({hole.end, range.end});
  }
  return parts;
}

}  // namespace crs
