#include "engine/resources/descriptors/unix_sockets/node_search.h"

#include <sys/stat.h>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/io.h"

namespace crs::engine {

const SearchedNode& NodeSearch::find(int socket, const std::string& bound_path, const UnixNode& node) {
  const auto [place, is_new] = known_.try_emplace({bound_path, node});
  if (is_new) place->second = search(socket, bound_path, node);
  return place->second;
}

SearchedNode NodeSearch::search(int socket, const std::string& bound_path, const UnixNode& node) {
  const auto leads_there = [&](const std::string& path) { return stands_at(node, path); };
  const FileDescriptor opened = open_node_of(socket);
  struct stat status{};
  if (opened && ::fstat(opened.get(), &status) == 0) {
    if (status.st_nlink == 0) return {std::nullopt, true};
    // Not where it was linked to another name and its own was unlinked.
    std::string path = read_link(fmt::format("/proc/self/fd/{}", opened.get()));
    if (leads_there(path)) return {std::move(path)};
  }
  return {other_names_.find_socket(bound_path, node.inode, leads_there)};
}

}  // namespace crs::engine
