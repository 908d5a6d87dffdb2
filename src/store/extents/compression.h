// How extents are compressed: always, never, or where that makes the whole faster.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>

namespace crs {

enum class Compression { None, Zstd, Automatic };

struct ExtentWriterOptions {
  Compression compression = Compression::None;
  int zstd_level = 1;
  std::uint64_t bytes_per_second = 0;  // written at most; 0: no limit
  // Throws once nobody wants the file any more. Called by threads that wait because of the limit.
  std::function<void()> check_wanted{};
};

// "none", "zstd", "zstd:LEVEL" or "auto", or empty for none. Throws an Error of kind Usage.
ExtentWriterOptions parse_compression(std::string_view text);

// Whether to compress the next extent, by what the disk and the cores have been seen to do so far. May be used by
// several threads at once.
class CompressionChoice {
 public:
  using Duration = std::chrono::nanoseconds;

  // `threads`: how many compress at the same time.
  explicit CompressionChoice(unsigned threads) : threads_(threads) {}

  // A piece of an extent was compressed for trial.
  void tried(std::size_t bytes, std::size_t compressed, Duration taken);
  void begin_writing();
  void end_writing(std::size_t bytes);
  bool worth_it() const;
  // Whether the next extent is one to try.
  bool is_due();

 private:
  mutable std::mutex mutex_;
  unsigned threads_;
  std::uint64_t extents_ = 0;
  double ratio_ = 1;        // compressed to uncompressed
  double compressing_ = 0;  // nanoseconds a byte, of one thread
  int writing_ = 0;         // how many just now
  std::chrono::steady_clock::time_point busy_since_;
  double busy_ = 0;     // nanoseconds with at least one
  double written_ = 0;  // bytes meanwhile
};

}  // namespace crs
