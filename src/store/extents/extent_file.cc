#include "store/extents/extent_file.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <exception>
#include <iterator>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/io.h"
#include "base/page_buffer.h"
#include "base/parallel.h"
#include "store/extents/data_file.h"
#include "store/extents/throttle.h"

namespace crs {
namespace {

constexpr std::size_t kMaximumIndex = std::size_t{1} << 30;
// The data file is made larger in advance, once it has some size, and cut at the end: a write beyond the end of a file
// excludes all others, even with direct I/O, where several can be under way within it (ext4, xfs).
constexpr std::uint64_t kLargeFile = std::uint64_t{16} << 20;
constexpr std::uint64_t kLeastGrowth = std::uint64_t{64} << 20;
constexpr std::uint64_t kMostGrowth = std::uint64_t{1} << 30;
constexpr std::size_t kSample = std::size_t{32} << 10;

std::string index_name(const std::string& name) { return name + ".index"; }

// Objects that are costly to make and that one thread at a time uses: taken at the start of a piece of work and given
// back at its end.
template <typename T>
class Pool {
 public:
  std::unique_ptr<T> take() {
    const std::scoped_lock lock(mutex_);
    if (idle_.empty()) return std::make_unique<T>();
    std::unique_ptr<T> object = std::move(idle_.back());
    idle_.pop_back();
    return object;
  }
  void give_back(std::unique_ptr<T> object) {
    const std::scoped_lock lock(mutex_);
    idle_.push_back(std::move(object));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> idle_;
};

template <typename T>
class Borrowed {
 public:
  explicit Borrowed(Pool<T>& pool) : pool_(pool), object_(pool.take()) {}
  ~Borrowed() { pool_.give_back(std::move(object_)); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  T* operator->() const { return object_.get(); }
  T& operator*() const { return *object_; }

 private:
  Pool<T>& pool_;
  std::unique_ptr<T> object_;
};

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

struct Compressor {
  std::unique_ptr<ZSTD_CCtx, FreeContext> zstd{ZSTD_createCCtx()};
  PageBuffer stored;  // what is to be written, padding included
};

struct Decompressor {
  std::unique_ptr<ZSTD_DCtx, FreeContext> zstd{ZSTD_createDCtx()};
  PageBuffer stored;  // as it is in the file, padding included
};

// For direct I/O where the file system has it: what is written once and not read soon need not go through the page
// cache, which would have to copy it, to push out what others use, and to be waited for at the end.
FileDescriptor create(const std::string& path) {
  constexpr int kNewFile = O_RDWR | O_CREAT | O_EXCL;
  try {
    return open_file(path, kNewFile | O_DIRECT);
  } catch (const Error& error) {
    if (error.error_number() != EINVAL) throw;
    ::unlink(path.c_str());  // some file systems have made it by then (open(2))
    return open_file(path, kNewFile);
  }
}

}  // namespace

std::string extent_data_name(const std::string& name, std::uint64_t source) {
  return source == 0 ? name : fmt::format("{}@{}", name, source);
}

std::optional<std::string> base_of_earlier_data(std::string_view file) {
  const std::size_t at = file.rfind('@');
  if (at == std::string_view::npos) return std::nullopt;
  std::uint64_t source = 0;
  std::from_chars(file.data() + at + 1, file.data() + file.size(), source);
  std::string base(file.substr(0, at));
  if (source == 0 || extent_data_name(base, source) != file) return std::nullopt;
  return base;
}

struct ExtentWriter::State {
  explicit State(const ExtentWriterOptions& wanted)
      : options(wanted),
        choice(std::max(1U, std::thread::hardware_concurrency())),
        throttle(wanted.bytes_per_second, wanted.check_wanted) {}

  std::string directory;
  std::string name;
  ExtentWriterOptions options;
  CompressionChoice choice;
  Throttle throttle;
  FileDescriptor file;
  Pool<Compressor> compressors;

  std::mutex mutex;  // protects what follows
  std::vector<Extent> extents;
  std::vector<Extent> earlier;     // that lie in other data files
  std::set<std::uint64_t> linked;  // their sources
  std::uint64_t end = 0;
  std::uint64_t expected = 0;
  std::uint64_t allocated = 0;  // the file's size, where it was made larger in advance
  bool may_allocate = true;
  bool is_to_be_cut = false;
  std::uint64_t payload_bytes = 0;
  std::exception_ptr failure;

  std::string path() const { return directory + "/" + name; }
  std::size_t store(std::span<const std::byte> payload, std::string tag);
  void allocate();
  std::uint64_t size_in_advance() const;
  void cut() const;
  void write(std::span<const std::byte> stored, std::uint64_t offset);
  std::span<const std::byte> encode(Compressor& compressor, std::span<const std::byte> payload, Extent& extent);
  std::size_t compress(Compressor& compressor, std::span<const std::byte> bytes) const;
  bool is_worth_compressing(Compressor& compressor, std::span<const std::byte> payload);
};

ExtentWriter::ExtentWriter(std::string directory, std::string name, const ExtentWriterOptions& options)
    : state_(std::make_unique<State>(options)) {
  state_->directory = std::move(directory);
  state_->name = std::move(name);
}

ExtentWriter::~ExtentWriter() = default;

// What is to be written for `payload`; it lies in `compressor` or is the payload itself.
std::span<const std::byte> ExtentWriter::State::encode(Compressor& compressor, std::span<const std::byte> payload,
                                                       Extent& extent) {
  extent.payload_bytes = payload.size();
  if (is_worth_compressing(compressor, payload)) {
    const std::size_t size = compress(compressor, payload);
    extent.encoding = ExtentEncoding::Zstd;
    extent.stored_bytes = size;
    // A frame that saves no whole page only costs time at the restart.
    if (size < payload.size() && extent.padded_bytes() < payload.size()) {
      const std::span<std::byte> stored = compressor.stored.first(extent.padded_bytes());
      std::ranges::fill(stored.subspan(size), std::byte{});
      return stored;
    }
    extent.encoding = ExtentEncoding::Raw;
  }
  extent.stored_bytes = payload.size();
  const bool is_aligned = reinterpret_cast<std::uintptr_t>(payload.data()) % kExtentAlignment == 0;
  if (is_aligned && extent.padded_bytes() == payload.size()) return payload;
  compressor.stored.reserve(extent.padded_bytes());
  const std::span<std::byte> stored = compressor.stored.first(extent.padded_bytes());
  std::ranges::copy(payload, stored.begin());
  std::ranges::fill(stored.subspan(payload.size()), std::byte{});
  return stored;
}

// Into compressor.stored, which has room for padding behind it.
std::size_t ExtentWriter::State::compress(Compressor& compressor, std::span<const std::byte> bytes) const {
  const std::size_t bound = ZSTD_compressBound(bytes.size()) + kExtentAlignment;
  compressor.stored.reserve(bound);
  const std::span<std::byte> stored = compressor.stored.first(bound);
  const std::size_t size = ZSTD_compressCCtx(compressor.zstd.get(), stored.data(), stored.size(), bytes.data(),
                                             bytes.size(), options.zstd_level);
  if (ZSTD_isError(size)) fail(ErrorKind::Failed, "cannot compress: {}", ZSTD_getErrorName(size));
  return size;
}

// A piece from the middle tells: what does not become smaller is not compressed at all.
bool ExtentWriter::State::is_worth_compressing(Compressor& compressor, std::span<const std::byte> payload) {
  if (options.compression == Compression::None) return false;
  const bool is_automatic = options.compression == Compression::Automatic;
  if (payload.size() < 2 * kSample) return !is_automatic || choice.worth_it();
  if (is_automatic && !choice.is_due() && !choice.worth_it()) return false;
  const auto begin = std::chrono::steady_clock::now();
  const std::size_t size = compress(compressor, payload.subspan(payload.size() / 2 / kSample * kSample, kSample));
  if (is_automatic) choice.tried(kSample, size, std::chrono::steady_clock::now() - begin);
  if (size > kSample - kSample / 32) return false;
  return !is_automatic || choice.worth_it();
}

std::size_t ExtentWriter::State::store(std::span<const std::byte> payload, std::string tag) {
  if (payload.empty() || payload.size() > kMaximumExtentPayload) {
    fail(ErrorKind::Failed, "an extent cannot have {} bytes", payload.size());
  }
  const Borrowed<Compressor> compressor(compressors);
  Extent extent;
  extent.tag = std::move(tag);
  const std::span<const std::byte> stored = encode(*compressor, payload, extent);
  extent.checksum = hash128(stored);
  std::uint64_t offset = 0;
  std::size_t number = 0;
  {
    const std::scoped_lock lock(mutex);
    if (!file) file = create(path());
    number = extents.size();
    offset = extent.offset = end;
    end += stored.size();
    allocate();
    payload_bytes += payload.size();
    extents.push_back(std::move(extent));
  }
  write(stored, offset);
  return number;
}

// With the mutex held. 0: as long as it is. What is expected may come to be less (pages of zeros, compression), so that
// it is only taken where much more than that is left to others.
std::uint64_t ExtentWriter::State::size_in_advance() const {
  if (allocated == 0 && expected >= kLargeFile && expected > end) {
    struct statvfs system{};
    const bool is_known = ::fstatvfs(file.get(), &system) == 0;
    if (is_known && expected / system.f_frsize < system.f_bavail / 2) return expected;
  }
  return end < kLargeFile ? 0 : end + std::clamp(end, kLeastGrowth, kMostGrowth);
}

// With the mutex held. A file system that cannot do it, or has not so much space, does without; it may then have made
// the file longer all the same.
void ExtentWriter::State::allocate() {
  if (!may_allocate || end <= allocated) return;
  const std::uint64_t wanted = size_in_advance();
  if (wanted == 0) return;
  is_to_be_cut = true;
  may_allocate = ::fallocate(file.get(), 0, static_cast<off_t>(allocated), static_cast<off_t>(wanted - allocated)) == 0;
  if (may_allocate) allocated = wanted;
}

void ExtentWriter::State::cut() const {
  if (is_to_be_cut && ::ftruncate(file.get(), static_cast<off_t>(end)) != 0)
    fail_errno(errno, "ftruncate of {}", path());
}

void ExtentWriter::State::write(std::span<const std::byte> stored, std::uint64_t offset) {
  choice.begin_writing();
  throttle.wait_for(stored.size());
  try {
    pwrite_all(file.get(), path(), stored, offset);
  } catch (const Error& error) {
    // A file system that opens a file for direct I/O and then cannot do it.
    if (error.error_number() != EINVAL || ::fcntl(file.get(), F_SETFL, 0) != 0) throw;
    pwrite_all(file.get(), path(), stored, offset);
  }
  choice.end_writing(stored.size());
}

void ExtentWriter::expect(std::uint64_t bytes) noexcept {
  if (state_->options.compression == Compression::None) state_->expected = bytes;
}

std::size_t ExtentWriter::append(std::span<const std::byte> payload, std::string tag) {
  try {
    return state_->store(payload, std::move(tag));
  } catch (...) {
    const std::scoped_lock lock(state_->mutex);
    if (!state_->failure) state_->failure = std::current_exception();
    throw;
  }
}

void ExtentWriter::refer(const ExtentReader& earlier, std::uint64_t sequence, std::size_t number, std::string tag) {
  Extent extent = earlier.extents().at(number);
  const std::string data = earlier.data_path(extent.source);
  if (extent.source == 0) extent.source = sequence;
  extent.tag = std::move(tag);
  const std::scoped_lock lock(state_->mutex);
  if (state_->linked.insert(extent.source).second) {
    const std::string link = extent_data_name(state_->path(), extent.source);
    if (::link(data.c_str(), link.c_str()) != 0) fail_errno(errno, "cannot link {} to {}", data, link);
  }
  state_->earlier.push_back(std::move(extent));
}

std::size_t ExtentWriter::extents() const noexcept { return state_->extents.size(); }
std::string& ExtentWriter::tag(std::size_t number) { return state_->extents.at(number).tag; }

void ExtentWriter::finish() {
  if (state_->failure) std::rethrow_exception(state_->failure);
  if (!state_->file) state_->file = create(state_->path());
  state_->cut();
  std::ranges::sort(state_->earlier, {}, [](const Extent& extent) { return std::pair(extent.source, extent.offset); });
  std::ranges::move(state_->earlier, std::back_inserter(state_->extents));
  const std::string path = index_name(state_->path());
  const FileDescriptor file = open_file(path, O_WRONLY | O_CREAT | O_EXCL);
  write_all(file.get(), path, as_byte_span(encode_extent_index(state_->extents)));
}

std::uint64_t ExtentWriter::payload_bytes() const noexcept { return state_->payload_bytes; }
std::uint64_t ExtentWriter::stored_bytes() const noexcept { return state_->end; }

struct ExtentReader::Contexts {
  Pool<Decompressor> decompressors;
};

ExtentReader::ExtentReader(const std::string& directory, const std::string& name)
    : ExtentReader(DataFile(directory + "/" + name), open_stored(directory + "/" + index_name(name)),
                   directory + "/" + name) {
  for (const Extent& extent : extents_) {
    if (data_.contains(extent.source)) continue;
    DataFile data(data_path(extent.source));
    check_within(extents_, extent.source, data.size(), data_path(extent.source));
    data_.emplace(extent.source, std::move(data));
  }
}

ExtentReader::ExtentReader(FileDescriptor data, const FileDescriptor& index, const std::string& name)
    : ExtentReader(DataFile(std::move(data), name), index, name) {}

ExtentReader::ExtentReader(DataFile data, const FileDescriptor& index, std::string name)
    : name_(std::move(name)), contexts_(std::make_unique<Contexts>()) {
  const std::string index_file = index_name(name_);
  const std::uint64_t index_bytes = stored_size(index.get(), index_file);
  if (index_bytes > kMaximumIndex)
    fail(ErrorKind::Damaged, "{} has {} bytes, more than an index can", index_file, index_bytes);
  std::string bytes(index_bytes, '\0');
  pread_exact(index.get(), index_file, std::as_writable_bytes(std::span(bytes)), 0);
  extents_ = decode_extent_index(bytes, data.size(), index_file);
  data_.emplace(0, std::move(data));
}

ExtentReader::~ExtentReader() = default;
ExtentReader::ExtentReader(ExtentReader&&) noexcept = default;
ExtentReader& ExtentReader::operator=(ExtentReader&&) noexcept = default;

std::vector<int> ExtentReader::descriptors() const {
  std::vector<int> numbers;
  for (const auto& [source, data] : data_) std::ranges::copy(data.descriptors(), std::back_inserter(numbers));
  return numbers;
}

std::uint64_t ExtentReader::payload_bytes() const noexcept {
  std::uint64_t total = 0;
  for (const Extent& extent : extents_) total += extent.payload_bytes;
  return total;
}

// Fills `bytes` with what is stored of the extent, and checks it.
void ExtentReader::read_stored(const Extent& extent, std::span<std::byte> bytes) const {
  const auto data = data_.find(extent.source);
  if (data == data_.end()) fail(ErrorKind::Damaged, "{} is missing", data_path(extent.source));
  data->second.read(data_path(extent.source), bytes, extent.offset);
  check(extent, bytes);
}

void ExtentReader::check(const Extent& extent, std::span<const std::byte> stored) const {
  if (hash128(stored) != extent.checksum) {
    fail(ErrorKind::Damaged, "{} fails its checksum in the {} bytes at {}", data_path(extent.source), stored.size(),
         extent.offset);
  }
}

void ExtentReader::verify(std::size_t number) const {
  const Extent& extent = extents_.at(number);
  const Borrowed<Decompressor> decompressor(contexts_->decompressors);
  decompressor->stored.reserve(extent.padded_bytes());
  read_stored(extent, decompressor->stored.first(extent.padded_bytes()));
}

void ExtentReader::read(std::size_t number, std::span<std::byte> payload) const {
  const Extent& extent = extents_.at(number);
  if (payload.size() != extent.payload_bytes)
    fail(ErrorKind::Failed, "extent {} of {} is read into a wrong size", number, name_);
  if (extent.encoding == ExtentEncoding::Raw && extent.padded_bytes() == payload.size()) {
    read_stored(extent, payload);
    return;
  }
  const Borrowed<Decompressor> decompressor(contexts_->decompressors);
  decompressor->stored.reserve(extent.padded_bytes());
  const std::span<std::byte> bytes = decompressor->stored.first(extent.padded_bytes());
  read_stored(extent, bytes);
  if (extent.encoding == ExtentEncoding::Raw) {
    std::copy_n(bytes.begin(), payload.size(), payload.begin());
    return;
  }
  const std::size_t size =
      ZSTD_decompressDCtx(decompressor->zstd.get(), payload.data(), payload.size(), bytes.data(), extent.stored_bytes);
  if (ZSTD_isError(size) || size != payload.size()) {
    fail(ErrorKind::Damaged, "{} holds no whole zstd frame at {}", data_path(extent.source), extent.offset);
  }
}

void verify_extents(const std::string& directory, const std::string& name) {
  const ExtentReader reader(directory, name);
  for_each_in_parallel(reader.extents().size(), [&](std::size_t number) { reader.verify(number); });
}

}  // namespace crs
