// Finding the node of a unix socket that is not where the socket was bound: moved to its own name when all was ready
// (rename(2)), or linked to it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "engine/procfs/other_names.h"
#include "engine/resources/descriptors/unix_sockets/node.h"

namespace crs::engine {

struct SearchedNode {
  std::optional<std::string> path;  // that leads to it
  bool is_unlinked = false;         // it is known that none does
};

// Not thread-safe. Looks for each node once, however many sockets were accepted by its own.
class NodeSearch {
 public:
  // `bound_path`: absolute. Who has CAP_NET_ADMIN finds it anywhere, others in the directory of that path.
  const SearchedNode& find(int socket, const std::string& bound_path, const UnixNode& node);

 private:
  SearchedNode search(int socket, const std::string& bound_path, const UnixNode& node);

  std::map<std::pair<std::string, UnixNode>, SearchedNode> known_;
  OtherNames other_names_;
};

}  // namespace crs::engine
