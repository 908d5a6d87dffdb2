#include "engine/procfs/other_names.h"

#include <dirent.h>

#include <algorithm>
#include <array>
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
    constexpr std::array<unsigned char, 4> kWanted{DT_REG, DT_FIFO, DT_SOCK, DT_UNKNOWN};
    if (std::ranges::find(kWanted, entry->d_type) != kWanted.end()) known->second.emplace(entry->d_ino, entry->d_name);
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

std::optional<std::string> OtherNames::find_socket(std::string_view bound_path, std::uint32_t inode,
                                                   const std::function<bool(const std::string&)>& leads_there) {
  const std::string directory(bound_path.substr(0, bound_path.rfind('/') + 1));
  for (const auto& [number, name] : names_in(directory)) {
    if (static_cast<std::uint32_t>(number) != inode) continue;
    std::string path = directory + name;
    if (leads_there(path)) return path;
  }
  return std::nullopt;
}

}  // namespace crs::engine
