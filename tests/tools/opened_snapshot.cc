#include "opened_snapshot.h"

#include <filesystem>
#include <fstream>

#include "base/hash.h"
#include "base/io.h"
#include "store/extents/extent_index.h"
#include "store/manifest.h"

namespace crs::test {
namespace {

constexpr std::size_t kIndexHeader = 40;  // docs/snapshot-format.md

void replace(const std::string& path, const std::string& bytes) {
  std::filesystem::remove(path);  // committed files are read-only
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

image::Tree read_tree(const std::string& location) {
  image::Tree tree;
  if (!tree.ParseFromString(read_file(location + "/process")) || tree.processes().empty())
    throw std::runtime_error("no image of a process");
  return tree;
}

}  // namespace

OpenedSnapshot::OpenedSnapshot(const std::string& directory)
    : location(directory), tree(read_tree(directory)), process(*tree.mutable_processes(0)) {
  manifest = decode_manifest(read_file(location + "/manifest"), location + "/manifest");
  if (!pages.ParseFromString(read_file(location + "/pages.index").substr(kIndexHeader)))
    throw std::runtime_error("no index of pages");
}

void OpenedSnapshot::write_back() const {
  store::Manifest changed = manifest;
  const auto put = [&](const std::string& name, const std::string& bytes) {
    for (store::FileRecord& record : *changed.mutable_files()) {
      if (record.name() != name || record.checksum().empty()) continue;
      changed.set_stored_bytes(changed.stored_bytes() - record.size() + bytes.size());
      record.set_size(bytes.size());
      record.set_checksum(hash128(as_byte_span(bytes)).to_bytes());
    }
    replace(location + "/" + name, bytes);
  };
  put("process", process_bytes.value_or(tree.SerializeAsString()));
  put("pages.index", frame_extent_index(pages_bytes.value_or(pages.SerializeAsString())));
  replace(location + "/manifest", wrap_manifest_payload(manifest_payload.value_or(changed.SerializeAsString()),
                                                        version.value_or(changed.format_version())));
}

}  // namespace crs::test
