#include "engine/procfs/other_names.h"

#include <dirent.h>

#include <memory>

namespace crs::engine {
namespace {

// The program stands still meanwhile: a directory of 300,000 names took a second.
constexpr std::size_t kMostEntries = 10000;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

const OtherNames::Names& OtherNames::names_in(const std::string& directory) {
  const auto [known, is_new] = directories_.try_emplace(directory);
  if (!is_new) return known->second;
  const std::unique_ptr<DIR, CloseDirectory> opened(::opendir(directory.c_str()));
  for (std::size_t entries = 0; opened && entries < kMostEntries; ++entries) {
    const dirent* const entry = ::readdir(opened.get());  // readdir(3): safe, for the stream is ours alone
    if (entry == nullptr) break;
    if (entry->d_type == DT_REG || entry->d_type == DT_FIFO || entry->d_type == DT_UNKNOWN)
      known->second.emplace(entry->d_ino, entry->d_name);
  }
  return known->second;
}

std::optional<std::string> OtherNames::find(std::string_view shown_path, ino_t inode,
                                            const std::function<bool(const std::string&)>& leads_there) {
  if (!shown_path.starts_with('/') || !shown_path.ends_with(kDeleted)) return std::nullopt;
  const std::string directory(shown_path.substr(0, shown_path.rfind('/') + 1));
  const auto [first, last] = names_in(directory).equal_range(inode);
  for (auto name = first; name != last; ++name) {
    std::string path = directory + name->second;
    if (leads_there(path)) return path;
  }
  return std::nullopt;
}

}  // namespace crs::engine
