#include "components/native/compact.h"

#include <fcntl.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/hash.h"
#include "engine/pages/compaction.h"
#include "engine/resources/memory/memory.h"
#include "store/extents/compression.h"
#include "store/extents/extent_file.h"

namespace crs {
namespace {

bool is_page_data(const std::string& name) {
  const std::string pages = engine::kPagesName;
  return name == pages || name == pages + ".index" || base_of_earlier_data(name) == pages;
}

// The copy is what is checked: it is what the new snapshot holds.
void copy_file(const SnapshotReader& snapshot, const store::FileRecord& record, const std::string& directory) {
  const std::filesystem::path to = std::filesystem::path(directory) / record.name();
  std::error_code problem;
  std::filesystem::create_directories(to.parent_path(), problem);
  if (!problem) std::filesystem::copy_file(snapshot.location() + "/" + record.name(), to, problem);
  if (problem) fail_errno(problem.value(), "cannot copy {}/{} to {}", snapshot.location(), record.name(), directory);
  const FileDescriptor copy(::open(to.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!copy) fail_errno(errno, "cannot open {}", to.string());
  if (hash_file(copy.get(), to.string(), record.size()).to_bytes() != record.checksum())
    fail(ErrorKind::Damaged, "{}/{} is damaged: its checksum does not match its content", snapshot.location(),
         record.name());
}

SnapshotContents contents_of(const store::Manifest& manifest) {
  SnapshotContents contents;
  for (const store::PassRecord& pass : manifest.passes())
    contents.passes.push_back({pass.name(), pass.nanoseconds(), pass.bytes(), pass.part_of()});
  contents.pause_nanoseconds = manifest.pause_nanoseconds();
  contents.memory_bytes = manifest.memory_bytes();
  contents.warnings = {manifest.warnings().begin(), manifest.warnings().end()};
  const store::ProgramRecord& program = manifest.program();
  contents.pid = program.pid();
  contents.threads = program.threads();
  contents.executable = program.executable();
  contents.command_line = {program.command_line().begin(), program.command_line().end()};
  contents.working_directory = program.working_directory();
  contents.cpu_features = {program.cpu_features().begin(), program.cpu_features().end()};
  for (const store::RangeRecord& range : manifest.excluded()) contents.excluded.push_back({range.start(), range.end()});
  return contents;
}

}  // namespace

void write_anew(const SnapshotReader& snapshot, SnapshotSink& sink, const CompactOptions& options) {
  for (const store::FileRecord& record : snapshot.manifest().files()) {
    if (!is_page_data(record.name())) copy_file(snapshot, record, sink.location());
  }
  ExtentWriterOptions writing = parse_compression(options.compression);
  writing.bytes_per_second = options.write_limit;
  engine::compact_pages(snapshot.location(), sink.location(), engine::kPagesName, writing);
  sink.commit(contents_of(snapshot.manifest()));
}

}  // namespace crs
