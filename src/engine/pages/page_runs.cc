#include "engine/pages/page_runs.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "engine/pages/page_runs.pb.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kPagesBelowLimit = (std::uint64_t{1} << 63) / kPageSize;

}  // namespace

void append_run(PageRuns& runs, RemoteRange run) {
  if (!runs.empty() && runs.back().end == run.start) {
    runs.back().end = run.end;
  } else {
    runs.push_back(run);
  }
}

std::uint64_t total_bytes(std::span<const RemoteRange> runs) {
  std::uint64_t total = 0;
  for (const RemoteRange& run : runs) total += run.size();
  return total;
}

PageRuns common_parts(RemoteRange run, std::span<const RemoteRange> others) {
  PageRuns parts;
  const auto first = std::ranges::upper_bound(others, run.start, {}, &RemoteRange::end);
  for (const RemoteRange& other : std::ranges::subrange(first, others.end())) {
    if (other.start >= run.end) break;
    append_run(parts, {std::max(run.start, other.start), std::min(run.end, other.end)});
  }
  return parts;
}

PageRuns other_parts(RemoteRange run, std::span<const RemoteRange> others) {
  PageRuns parts;
  for (const RemoteRange& common : common_parts(run, others)) {
    if (run.start < common.start) append_run(parts, {run.start, common.start});
    run.start = common.end;
  }
  if (run.start < run.end) append_run(parts, run);
  return parts;
}

std::string encode_runs(std::span<const RemoteRange> runs, std::uint32_t process) {
  image::PageRuns message;
  message.set_process(process);
  RemoteAddress end;
  for (const RemoteRange& run : runs) {
    message.add_runs((run.start - end) / kPageSize);
    message.add_runs(run.size() / kPageSize);
    end = run.end;
  }
  return message.SerializeAsString();
}

namespace {

// Pairs of a gap and a length, as one list of places; `limit` is where they end at the latest.
std::vector<RemoteRange> decode_pairs(const google::protobuf::RepeatedField<std::uint64_t>& numbers,
                                      std::uint64_t limit) {
  std::vector<RemoteRange> places;
  std::uint64_t page = 0;
  for (int i = 0; i + 1 < numbers.size(); i += 2) {
    const std::uint64_t gap = numbers[i];
    const std::uint64_t length = numbers[i + 1];
    if (gap > limit - page || length == 0 || length > limit - page - gap) {
      fail(ErrorKind::Damaged, "the list of its pages holds a run that cannot be: {} pages, {} behind page {:#x}",
           length, gap, page);
    }
    places.push_back({{(page + gap) * kPageSize}, {(page + gap + length) * kPageSize}});
    page += gap + length;
  }
  return places;
}

image::PageRuns parse(std::string_view tag) {
  image::PageRuns message;
  if (!message.ParseFromArray(tag.data(), static_cast<int>(tag.size())) || message.runs_size() % 2 != 0 ||
      message.replaced_size() % 2 != 0) {
    fail(ErrorKind::Damaged, "the list of its pages cannot be read");
  }
  return message;
}

}  // namespace

std::uint32_t process_of(std::string_view tag) { return parse(tag).process(); }

PageRuns decode_runs(std::string_view tag) { return decode_pairs(parse(tag).runs(), kPagesBelowLimit); }

ExtentPages decode_pages(std::string_view tag, std::uint64_t payload_bytes) {
  const image::PageRuns message = parse(tag);
  const PageRuns all = decode_pairs(message.runs(), kPagesBelowLimit);
  if (total_bytes(all) != payload_bytes) {
    fail(ErrorKind::Damaged, "its list of pages makes up {} bytes, its payload {}", total_bytes(all), payload_bytes);
  }
  // Places in the payload, as if it were memory from address 0 on.
  const std::vector<RemoteRange> replaced = decode_pairs(message.replaced(), payload_bytes / kPageSize);
  ExtentPages pages;
  std::uint64_t offset = 0;
  for (const RemoteRange& run : all) {
    for (const RemoteRange& part : other_parts({{offset}, {offset + run.size()}}, replaced)) {
      pages.runs.push_back({run.start + (part.start.value - offset), run.start + (part.end.value - offset)});
      pages.offsets.push_back(part.start.value);
    }
    offset += run.size();
  }
  return pages;
}

std::span<std::byte> ExtentPages::gather(std::span<std::byte> payload) const {
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (offsets[i] != end) std::memmove(payload.data() + end, payload.data() + offsets[i], runs[i].size());
    end += runs[i].size();
  }
  return payload.first(end);
}

std::string only_pages(std::string_view tag, std::span<const RemoteRange> counting, std::uint32_t process) {
  image::PageRuns message = parse(tag);
  message.set_process(process);
  PageRuns replaced;
  RemoteAddress offset;
  for (const RemoteRange& run : decode_pairs(message.runs(), kPagesBelowLimit)) {
    for (const RemoteRange& part : other_parts(run, counting))
      append_run(replaced, {offset + (part.start - run.start), offset + (part.end - run.start)});
    offset = offset + run.size();
  }
  message.clear_replaced();
  RemoteAddress end;
  for (const RemoteRange& run : replaced) {
    message.add_replaced((run.start - end) / kPageSize);
    message.add_replaced(run.size() / kPageSize);
    end = run.end;
  }
  return message.SerializeAsString();
}

}  // namespace crs::engine
