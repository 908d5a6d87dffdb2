#include "engine/pages/compaction.h"

#include <algorithm>
#include <cstring>
#include <list>
#include <map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/page_buffer.h"
#include "engine/pages/page_area.h"
#include "engine/pages/page_runs.h"

namespace crs::engine {
namespace {

// Adjacent pages that count, and where they are.
struct Piece {
  std::uint32_t process = 0;
  RemoteRange run;
  std::size_t extent = 0;
  std::uint64_t offset = 0;  // in the extent's payload
};

// By process, and then ascending by address.
std::vector<Piece> pieces_of(const ExtentReader& reader) {
  std::vector<Piece> pieces;
  for (std::size_t number = 0; number < reader.extents().size(); ++number) {
    const Extent& extent = reader.extents()[number];
    const ExtentPages pages = decode_pages(extent.tag, extent.payload_bytes);
    const std::uint32_t process = process_of(extent.tag);
    for (std::size_t i = 0; i < pages.runs.size(); ++i)
      pieces.push_back({process, pages.runs[i], number, pages.offsets[i]});
  }
  std::ranges::sort(pieces, {}, [](const Piece& piece) { return std::pair(piece.process, piece.run.start); });
  for (std::size_t i = 1; i < pieces.size(); ++i) {
    if (pieces[i].process == pieces[i - 1].process && pieces[i].run.start < pieces[i - 1].run.end)
      fail(ErrorKind::Damaged, "the page data holds the page at {:#x} twice", pieces[i].run.start.value);
  }
  return pieces;
}

// The payloads that were read last: pages that were written at different times lie in different extents, and pages near
// to each other are wanted one after the other.
class Payloads {
 public:
  explicit Payloads(const ExtentReader& reader) : reader_(reader) {}

  std::span<const std::byte> get(std::size_t extent) {
    if (const auto known = by_extent_.find(extent); known != by_extent_.end()) {
      newest_first_.splice(newest_first_.begin(), newest_first_, known->second);
      return newest_first_.front().bytes;
    }
    const std::uint64_t size = reader_.extents()[extent].payload_bytes;
    make_room(size);
    Entry entry{extent, std::vector<std::byte>(size)};
    reader_.read(extent, entry.bytes);
    newest_first_.push_front(std::move(entry));
    by_extent_[extent] = newest_first_.begin();
    held_ += size;
    return newest_first_.front().bytes;
  }

 private:
  static constexpr std::uint64_t kMostHeld = std::uint64_t{48} << 20;

  struct Entry {
    std::size_t extent;
    std::vector<std::byte> bytes;
  };

  void make_room(std::uint64_t size) {
    while (!newest_first_.empty() && held_ + size > kMostHeld) {
      held_ -= newest_first_.back().bytes.size();
      by_extent_.erase(newest_first_.back().extent);
      newest_first_.pop_back();
    }
  }

  const ExtentReader& reader_;
  std::list<Entry> newest_first_;
  std::map<std::size_t, std::list<Entry>::iterator> by_extent_;
  std::uint64_t held_ = 0;
};

// The extent in the making.
class Output {
 public:
  explicit Output(ExtentWriter& writer) : writer_(writer), buffer_(kPagePayload) {}

  void add(std::uint32_t process, RemoteRange run, std::span<const std::byte> pages) {
    if (process != process_) flush();
    process_ = process;
    while (run.size() > 0) {
      const std::uint64_t size = std::min<std::uint64_t>(run.size(), kPagePayload - used_);
      std::memcpy(buffer_.first(kPagePayload).data() + used_, pages.data(), size);
      append_run(runs_, {run.start, run.start + size});
      used_ += size;
      run.start = run.start + size;
      pages = pages.subspan(size);
      if (used_ == kPagePayload) flush();
    }
  }

  void flush() {
    if (used_ == 0) return;
    writer_.append(buffer_.first(used_), encode_runs(runs_, process_));
    used_ = 0;
    runs_.clear();
  }

 private:
  ExtentWriter& writer_;
  PageBuffer buffer_;
  std::uint32_t process_ = 0;
  std::uint64_t used_ = 0;
  PageRuns runs_;
};

}  // namespace

void compact_pages(const std::string& from, const std::string& to, const std::string& name,
                   const ExtentWriterOptions& options) {
  const ExtentReader reader(from, name);
  ExtentWriter writer(to, name, options);
  Payloads payloads(reader);
  Output output(writer);
  for (const Piece& piece : pieces_of(reader))
    output.add(piece.process, piece.run, payloads.get(piece.extent).subspan(piece.offset, piece.run.size()));
  output.flush();
  writer.finish();
}

}  // namespace crs::engine
