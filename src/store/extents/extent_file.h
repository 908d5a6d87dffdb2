// A data file of extents and its index: how the pages of a program lie on disk.
//
// NAME holds the extents, each padded with zeros to a multiple of 4096 bytes, one behind the other without gaps;
// NAME.index says what and where they are (extent_index.h). Each extent is checksummed as it is stored, and the index
// as a whole, so that any changed bit of either file is found: those of an extent when it is read, all others when the
// reader is constructed.
//
// What an earlier snapshot of the same job holds already need not be written again: the index may name extents of that
// one's data file, which then lies beside NAME as NAME@SOURCE, a hard link (link(2)). So every snapshot has all that it
// needs in its own directory, and removing an earlier one takes nothing from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"
#include "store/extents/compression.h"
#include "store/extents/data_file.h"
#include "store/extents/extent_index.h"

namespace crs {

// What the data file NAME of snapshot `source` is called in the directory of a later one; NAME itself for source 0.
std::string extent_data_name(const std::string& name, std::uint64_t source);
// The name before '@' of such a file: "pages" for "pages@3"; nothing for a name of another kind.
std::optional<std::string> base_of_earlier_data(std::string_view file);

class ExtentReader;

// Writes one data file and, at the end, its index. append() may be called by several threads at once; compressing,
// checksumming and writing happen in the calling thread, with at most twice the payload of memory for each.
class ExtentWriter {
 public:
  // Creates DIRECTORY/NAME, which must not exist. Throws.
  ExtentWriter(std::string directory, std::string name, const ExtentWriterOptions& options = {});
  ~ExtentWriter();
  ExtentWriter(const ExtentWriter&) = delete;
  ExtentWriter& operator=(const ExtentWriter&) = delete;

  // Before the first append(): about how many bytes there will be. The file is then made so long at once: whenever it
  // is made longer, all writes wait.
  void expect(std::uint64_t bytes) noexcept;

  // `payload` has 1 .. kMaximumExtentPayload bytes; `tag` is kept as it is. Throws what failed; the file is then
  // useless, and finish() throws, too. Returns the extent's number, from 0 on.
  std::size_t append(std::span<const std::byte> payload, std::string tag);

  // The tags may be changed until the end, by one thread and while no append() is under way.
  std::size_t extents() const noexcept;
  std::string& tag(std::size_t number);

  // Makes an extent of an earlier data file part of this one's content, under a tag of its own. `earlier` reads NAME in
  // the directory of snapshot `sequence` (not 0), which must be on the same file system; its data file is linked into
  // DIRECTORY. No extent may be referred to twice. To be called by one thread.
  void refer(const ExtentReader& earlier, std::uint64_t sequence, std::size_t number, std::string tag);

  // Writes the index. Throws what failed here or in any append(). Nothing is synced: that is the commit's part. Not to
  // be called while an append() is under way, and at most once.
  void finish();

  // Once finished: bytes of payload that were appended, and bytes of the data file.
  std::uint64_t payload_bytes() const noexcept;
  std::uint64_t stored_bytes() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Reads a data file by its index. Every method may be called by several threads at once.
class ExtentReader {
 public:
  // Reads and checks DIRECTORY/NAME.index against the size of DIRECTORY/NAME and of each DIRECTORY/NAME@SOURCE. Throws
  // Damaged.
  ExtentReader(const std::string& directory, const std::string& name);
  // The same of open descriptors, without earlier data files; `name` is for messages.
  ExtentReader(FileDescriptor data, const FileDescriptor& index, const std::string& name);
  ~ExtentReader();
  ExtentReader(ExtentReader&&) noexcept;
  ExtentReader& operator=(ExtentReader&&) noexcept;

  const std::vector<Extent>& extents() const noexcept { return extents_; }
  // The path of the data file that holds an extent of source `source`.
  std::string data_path(std::uint64_t source) const { return extent_data_name(name_, source); }
  std::uint64_t payload_bytes() const noexcept;
  // That it reads from, for whoever closes all others.
  std::vector<int> descriptors() const;

  // Fills `payload`, of extents()[number].payload_bytes bytes, after checking the checksum of what is stored. Throws
  // Damaged, naming file and offset; the content of `payload` is then undefined.
  void read(std::size_t number, std::span<std::byte> payload) const;
  // Checks the checksum alone.
  void verify(std::size_t number) const;

 private:
  struct Contexts;
  ExtentReader(DataFile data, const FileDescriptor& index, std::string name);
  void read_stored(const Extent& extent, std::span<std::byte> bytes) const;
  void check(const Extent& extent, std::span<const std::byte> stored) const;

  std::string name_;
  std::map<std::uint64_t, DataFile> data_;  // by source
  std::vector<Extent> extents_;
  std::unique_ptr<Contexts> contexts_;
};

// Checks every extent of DIRECTORY/NAME, on all cores. Throws Damaged, naming the first damaged extent that was met.
void verify_extents(const std::string& directory, const std::string& name);

}  // namespace crs
