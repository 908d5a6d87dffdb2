// A data file of extents and its index: how the pages of a program lie on disk.
//
// NAME holds the extents, each padded with zeros to a multiple of 4096 bytes, one behind the other without gaps;
// NAME.index says what and where they are (extent_index.h). Each extent is checksummed as it is stored, and the index
// as a whole, so that any changed bit of either file is found: those of an extent when it is read, all others when the
// reader is constructed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"
#include "store/extents/compression.h"
#include "store/extents/extent_index.h"

namespace crs {

// Writes one data file and, at the end, its index. append() may be called by several threads at once; compressing,
// checksumming and writing happen in the calling thread, with at most twice the payload of memory for each.
class ExtentWriter {
 public:
  // Creates DIRECTORY/NAME, which must not exist. Throws.
  ExtentWriter(std::string directory, std::string name, ExtentWriterOptions options = {});
  ~ExtentWriter();
  ExtentWriter(const ExtentWriter&) = delete;
  ExtentWriter& operator=(const ExtentWriter&) = delete;

  // `payload` has 1 .. kMaximumExtentPayload bytes; `tag` is kept as it is. Throws what failed; the file is then
  // useless, and finish() throws, too. Returns the extent's number, from 0 on.
  std::size_t append(std::span<const std::byte> payload, std::string tag);

  // The tags may be changed until the end, by one thread and while no append() is under way.
  std::size_t extents() const noexcept;
  std::string& tag(std::size_t number);

  // Writes the index. Throws what failed here or in any append(). Nothing is synced: that is the commit's part. Not to
  // be called while an append() is under way, and at most once.
  void finish();

  // Once finished: bytes of payload, and bytes of the data file.
  std::uint64_t payload_bytes() const noexcept;
  std::uint64_t stored_bytes() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Reads a data file by its index. Every method may be called by several threads at once.
class ExtentReader {
 public:
  // Reads and checks DIRECTORY/NAME.index against the size of DIRECTORY/NAME. Throws Damaged.
  ExtentReader(const std::string& directory, const std::string& name);
  // The same of open descriptors; `name` is for messages.
  ExtentReader(FileDescriptor data, const FileDescriptor& index, std::string name);
  ~ExtentReader();
  ExtentReader(ExtentReader&&) noexcept;
  ExtentReader& operator=(ExtentReader&&) noexcept;

  const std::vector<Extent>& extents() const noexcept { return extents_; }
  std::uint64_t payload_bytes() const noexcept;

  // Fills `payload`, of extents()[number].payload_bytes bytes, after checking the checksum of what is stored. Throws
  // Damaged, naming file and offset; the content of `payload` is then undefined.
  void read(std::size_t number, std::span<std::byte> payload) const;
  // Checks the checksum alone.
  void verify(std::size_t number) const;

 private:
  struct Contexts;
  std::vector<std::byte> stored(const Extent& extent) const;
  void check(const Extent& extent, std::span<const std::byte> stored) const;

  std::string name_;
  FileDescriptor data_;
  std::vector<Extent> extents_;
  std::unique_ptr<Contexts> contexts_;
};

// Checks every extent of DIRECTORY/NAME, on all cores. Throws Damaged, naming the first damaged extent that was met.
void verify_extents(const std::string& directory, const std::string& name);

}  // namespace crs
