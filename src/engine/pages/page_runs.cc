#include "engine/pages/page_runs.h"

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

std::uint32_t process_of(std::string_view tag) {
  image::PageRuns message;
  if (!message.ParseFromArray(tag.data(), static_cast<int>(tag.size())))
    fail(ErrorKind::Damaged, "the list of its pages cannot be read");
  return message.process();
}

PageRuns decode_runs(std::string_view tag) {
  image::PageRuns message;
  if (!message.ParseFromArray(tag.data(), static_cast<int>(tag.size())) || message.runs_size() % 2 != 0) {
    fail(ErrorKind::Damaged, "the list of its pages cannot be read");
  }
  PageRuns runs;
  std::uint64_t page = 0;
  for (int i = 0; i < message.runs_size(); i += 2) {
    const std::uint64_t gap = message.runs(i);
    const std::uint64_t length = message.runs(i + 1);
    if (gap > kPagesBelowLimit - page || length == 0 || length > kPagesBelowLimit - page - gap) {
      fail(ErrorKind::Damaged, "the list of its pages holds a run that cannot be");
    }
    runs.push_back({{(page + gap) * kPageSize}, {(page + gap + length) * kPageSize}});
    page += gap + length;
  }
  return runs;
}

}  // namespace crs::engine
