#include "engine/pages/page_saver.h"

#include <atomic>
#include <mutex>

#include "base/page_buffer.h"
#include "base/parallel.h"
#include "engine/pages/held_pages.h"

namespace crs::engine {

SavedPages& SavedPages::operator+=(const SavedPages& other) {
  pages += other.pages;
  zero_pages += other.zero_pages;
  for (const RemoteRange& guard : other.guards) guards.push_back(guard);
  return *this;
}

namespace {

SavedPages append_batch(const Batch& batch, std::span<std::byte> bytes, ExtentWriter& writer, std::uint32_t process) {
  const PageRuns kept = drop_needless(batch.like, batch.runs, bytes);
  const std::uint64_t kept_bytes = total_bytes(kept);
  if (kept_bytes > 0) writer.append(bytes.first(kept_bytes), encode_runs(kept, process));
  return {kept_bytes / kPageSize, (bytes.size() - kept_bytes) / kPageSize, {}};
}

}  // namespace

SavedPages save_page_areas(const RemoteMemory& source, std::span<const PageArea> areas, ExtentWriter& writer,
                           std::uint32_t process, unsigned threads, HeldPages* held) {
  Batches batches(source.pid(), areas);
  std::mutex mutex;
  SavedPages saved;
  std::atomic<bool> failed = false;
  const auto work = [&] {
    PageBuffer buffer;
    for (Batch batch; !failed && batches.next(batch);) {
      if (held != nullptr && held->hold(source, batch)) continue;
      buffer.reserve(kPagePayload);
      const std::span<std::byte> bytes = buffer.first(total_bytes(batch.runs));
      read_batch(source, batch, bytes);
      const SavedPages appended = append_batch(batch, bytes, writer, process);
      const std::scoped_lock lock(mutex);
      saved += appended;
    }
  };
  run_in_parallel(telling_of_failure(failed, work), threads == 0 ? threads_for_disk() : threads);
  saved.guards = batches.guards();
  return saved;
}

}  // namespace crs::engine
