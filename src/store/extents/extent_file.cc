#include "store/extents/extent_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <exception>
#include <mutex>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/io.h"
#include "base/parallel.h"

namespace crs {
namespace {

constexpr std::size_t kMaximumIndex = std::size_t{1} << 30;

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
  std::vector<std::byte> stored;  // what is to be written, padding included
};

struct Decompressor {
  std::unique_ptr<ZSTD_DCtx, FreeContext> zstd{ZSTD_createDCtx()};
};

std::uint64_t size_of(int descriptor, const std::string& name) {
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) fail_errno(errno, "cannot look at {}", name);
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::Damaged, "{} is no regular file", name);
  return static_cast<std::uint64_t>(status.st_size);
}

FileDescriptor open_existing(const std::string& path) {
  try {
    return open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (const Error& error) {
    if (error.error_number() == ENOENT) fail(ErrorKind::Damaged, "{} is missing", path);
    if (error.error_number() == ELOOP) fail(ErrorKind::Damaged, "{} is a symbolic link", path);
    throw;
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
  std::string directory;
  std::string name;
  ExtentWriterOptions options;
  FileDescriptor file;
  Pool<Compressor> compressors;

  std::mutex mutex;  // protects what follows
  std::vector<Extent> extents;
  std::vector<Extent> earlier;     // that lie in other data files
  std::set<std::uint64_t> linked;  // their sources
  std::uint64_t end = 0;
  std::uint64_t payload_bytes = 0;
  std::exception_ptr failure;

  std::string path() const { return directory + "/" + name; }
  void store(std::span<const std::byte> payload, std::string tag);
  std::span<const std::byte> encode(Compressor& compressor, std::span<const std::byte> payload, Extent& extent) const;
};

ExtentWriter::ExtentWriter(std::string directory, std::string name, ExtentWriterOptions options)
    : state_(std::make_unique<State>()) {
  state_->directory = std::move(directory);
  state_->name = std::move(name);
  state_->options = options;
  state_->file = open_file(state_->path(), O_RDWR | O_CREAT | O_EXCL);
}

ExtentWriter::~ExtentWriter() = default;

// What is to be written for `payload`; it lies in `compressor` or is the payload itself.
std::span<const std::byte> ExtentWriter::State::encode(Compressor& compressor, std::span<const std::byte> payload,
                                                       Extent& extent) const {
  std::vector<std::byte>& stored = compressor.stored;
  extent.payload_bytes = extent.stored_bytes = payload.size();
  if (options.compression == Compression::Zstd) {
    stored.resize(ZSTD_compressBound(payload.size()) + kExtentAlignment);
    const std::size_t size = ZSTD_compressCCtx(compressor.zstd.get(), stored.data(), stored.size(), payload.data(),
                                               payload.size(), options.zstd_level);
    if (ZSTD_isError(size)) fail(ErrorKind::Failed, "cannot compress: {}", ZSTD_getErrorName(size));
    extent.encoding = ExtentEncoding::Zstd;
    extent.stored_bytes = size;
    // A frame that saves no whole page only costs time at the restart.
    if (size < payload.size() && extent.padded_bytes() < payload.size()) {
      std::fill(stored.begin() + static_cast<std::ptrdiff_t>(size),
                stored.begin() + static_cast<std::ptrdiff_t>(extent.padded_bytes()), std::byte{});
      return std::span(stored).first(extent.padded_bytes());
    }
    extent.encoding = ExtentEncoding::Raw;
    extent.stored_bytes = payload.size();
  }
  if (extent.padded_bytes() == payload.size()) return payload;
  stored.assign(payload.begin(), payload.end());
  stored.resize(extent.padded_bytes());
  return stored;
}

void ExtentWriter::State::store(std::span<const std::byte> payload, std::string tag) {
  if (payload.empty() || payload.size() > kMaximumExtentPayload) {
    fail(ErrorKind::Failed, "an extent cannot have {} bytes", payload.size());
  }
  const Borrowed<Compressor> compressor(compressors);
  Extent extent;
  extent.tag = std::move(tag);
  const std::span<const std::byte> stored = encode(*compressor, payload, extent);
  extent.checksum = hash128(stored);
  std::uint64_t offset = 0;
  {
    const std::scoped_lock lock(mutex);
    offset = extent.offset = end;
    end += stored.size();
    payload_bytes += payload.size();
    extents.push_back(std::move(extent));
  }
  pwrite_all(file.get(), path(), stored, offset);
}

void ExtentWriter::append(std::span<const std::byte> payload, std::string tag) {
  try {
    state_->store(payload, std::move(tag));
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

void ExtentWriter::finish() {
  if (state_->failure) std::rethrow_exception(state_->failure);
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
    : ExtentReader(open_existing(directory + "/" + name), open_existing(directory + "/" + index_name(name)),
                   directory + "/" + name) {
  for (const Extent& extent : extents_) {
    if (data_.contains(extent.source)) continue;
    FileDescriptor data = open_existing(data_path(extent.source));
    check_within(extents_, extent.source, size_of(data.get(), data_path(extent.source)), data_path(extent.source));
    data_[extent.source] = std::move(data);
  }
}

ExtentReader::ExtentReader(FileDescriptor data, const FileDescriptor& index, std::string name)
    : name_(std::move(name)), contexts_(std::make_unique<Contexts>()) {
  const std::string index_file = index_name(name_);
  const std::uint64_t index_bytes = size_of(index.get(), index_file);
  if (index_bytes > kMaximumIndex)
    fail(ErrorKind::Damaged, "{} has {} bytes, more than an index can", index_file, index_bytes);
  std::string bytes(index_bytes, '\0');
  pread_exact(index.get(), index_file, std::as_writable_bytes(std::span(bytes)), 0);
  extents_ = decode_extent_index(bytes, size_of(data.get(), name_), index_file);
  data_[0] = std::move(data);
}

ExtentReader::~ExtentReader() = default;
ExtentReader::ExtentReader(ExtentReader&&) noexcept = default;
ExtentReader& ExtentReader::operator=(ExtentReader&&) noexcept = default;

std::uint64_t ExtentReader::payload_bytes() const noexcept {
  std::uint64_t total = 0;
  for (const Extent& extent : extents_) total += extent.payload_bytes;
  return total;
}

int ExtentReader::data_of(const Extent& extent) const {
  const auto data = data_.find(extent.source);
  if (data == data_.end()) fail(ErrorKind::Damaged, "{} is missing", data_path(extent.source));
  return data->second.get();
}

std::vector<std::byte> ExtentReader::stored(const Extent& extent) const {
  std::vector<std::byte> bytes(extent.padded_bytes());
  pread_exact(data_of(extent), data_path(extent.source), bytes, extent.offset);
  check(extent, bytes);
  return bytes;
}

void ExtentReader::check(const Extent& extent, std::span<const std::byte> stored) const {
  if (hash128(stored) != extent.checksum) {
    fail(ErrorKind::Damaged, "{} fails its checksum in the {} bytes at {}", data_path(extent.source), stored.size(),
         extent.offset);
  }
}

void ExtentReader::verify(std::size_t number) const { stored(extents_.at(number)); }

void ExtentReader::read(std::size_t number, std::span<std::byte> payload) const {
  const Extent& extent = extents_.at(number);
  if (payload.size() != extent.payload_bytes)
    fail(ErrorKind::Failed, "extent {} of {} is read into a wrong size", number, name_);
  if (extent.encoding == ExtentEncoding::Raw && extent.padded_bytes() == payload.size()) {
    pread_exact(data_of(extent), data_path(extent.source), payload, extent.offset);
    check(extent, payload);
    return;
  }
  const std::vector<std::byte> bytes = stored(extent);
  if (extent.encoding == ExtentEncoding::Raw) {
    std::copy_n(bytes.begin(), payload.size(), payload.begin());
    return;
  }
  const Borrowed<Decompressor> decompressor(contexts_->decompressors);
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
