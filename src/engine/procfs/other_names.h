// Files that /proc calls deleted and that are there all the same, under another name than they were opened by: made
// under a passing name, linked to their own and only then shown to others (link(2); O_TMPFILE in open(2)), as the C
// library makes named semaphores. And nodes of unix sockets that have been moved from where they were bound.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace crs::engine {

// What /proc appends to the path of such a file, and of one that is gone.
inline constexpr std::string_view kDeleted = " (deleted)";

// Not thread-safe. Reads each directory once.
class OtherNames {
 public:
  // A path of the file with this inode in the directory of `shown_path` (as /proc shows it, with kDeleted) for which
  // `leads_there` is true; nothing if there is none, the directory cannot be read, or the name is not among its
  // first 10,000. Names in other directories are not looked for.
  std::optional<std::string> find(std::string_view shown_path, ino_t inode,
                                  const std::function<bool(const std::string&)>& leads_there);

  // The same for the node of a unix socket that was bound to `bound_path`, of whose inode only 32 bits are known.
  std::optional<std::string> find_socket(std::string_view bound_path, std::uint32_t inode,
                                         const std::function<bool(const std::string&)>& leads_there);

 private:
  using Names = std::multimap<ino_t, std::string>;
  const Names& names_in(const std::string& directory);

  std::map<std::string, Names> directories_;
};

}  // namespace crs::engine
