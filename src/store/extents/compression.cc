#include "store/extents/compression.h"

#include <zstd.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace crs {
namespace {

// Before so much was written, nothing is known of the disk.
constexpr double kLeastWritten = 2 << 20;
constexpr std::uint64_t kTryEvery = 8;
// Reading a byte of a program and its checksum cost a thread about this many nanoseconds (2 x86-64 virtual cores).
constexpr double kOtherWork = 0.35;
// What a compressed extent costs at the restart must be worth it.
constexpr double kClearGain = 0.9;

[[noreturn]] void fail_usage(std::string_view text) {
  throw Error(ErrorKind::Usage, fmt::format("'{}' is no way to compress", text))
      .advise(fmt::format("Give none, zstd, zstd:LEVEL with a level from 1 to {}, or auto", ZSTD_maxCLevel()));
}

}  // namespace

ExtentWriterOptions parse_compression(std::string_view text) {
  if (text.empty() || text == "none") return {};
  if (text == "auto") return {.compression = Compression::Automatic};
  if (text == "zstd") return {.compression = Compression::Zstd};
  constexpr std::string_view kPrefix = "zstd:";
  if (!text.starts_with(kPrefix)) fail_usage(text);
  ExtentWriterOptions options{.compression = Compression::Zstd};
  const char* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data() + kPrefix.size(), end, options.zstd_level);
  if (problem != std::errc{} || stop != end || options.zstd_level < 1 || options.zstd_level > ZSTD_maxCLevel())
    fail_usage(text);
  return options;
}

void CompressionChoice::tried(std::size_t bytes, std::size_t compressed, Duration taken) {
  const std::scoped_lock lock(mutex_);
  const double ratio = static_cast<double>(compressed) / static_cast<double>(bytes);
  const double time = static_cast<double>(taken.count()) / static_cast<double>(bytes);
  const bool is_first = compressing_ == 0;
  ratio_ = is_first ? ratio : (3 * ratio_ + ratio) / 4;
  compressing_ = is_first ? time : (3 * compressing_ + time) / 4;
}

void CompressionChoice::begin_writing() {
  const std::scoped_lock lock(mutex_);
  if (writing_++ == 0) busy_since_ = std::chrono::steady_clock::now();
}

void CompressionChoice::end_writing(std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  written_ += static_cast<double>(bytes);
  if (--writing_ > 0) return;
  const Duration busy = std::chrono::steady_clock::now() - busy_since_;
  busy_ += static_cast<double>(busy.count());
}

// What takes longest sets the pace: the cores or the disk.
bool CompressionChoice::worth_it() const {
  const std::scoped_lock lock(mutex_);
  if (compressing_ == 0 || written_ < kLeastWritten || busy_ == 0) return false;
  const double disk = busy_ / written_;
  const double plain = std::max(kOtherWork / threads_, disk);
  const double compressed = std::max((kOtherWork + compressing_) / threads_, ratio_ * disk);
  return compressed < kClearGain * plain;
}

bool CompressionChoice::is_due() {
  const std::scoped_lock lock(mutex_);
  return extents_++ % kTryEvery == 0;
}

}  // namespace crs
