#include "engine/resources/descriptors/files/file_rules.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace crs::engine {
namespace {

constexpr std::array<std::pair<std::string_view, FilePolicy>, 3> kPolicies{
    {{"reference", FilePolicy::Reference}, {"copy", FilePolicy::Copy}, {"ignore", FilePolicy::Ignore}}};

FilePolicy parse_policy(std::string_view word, std::string_view rule) {
  const auto found = std::ranges::find(kPolicies, word, &std::pair<std::string_view, FilePolicy>::first);
  if (found != kPolicies.end()) return found->second;
  throw Error(ErrorKind::Usage, fmt::format("'{}' is no rule for files", rule))
      .advise("A rule is reference, copy or ignore, or one of them with the files it is for: copy=*.db");
}

bool fits(const std::string& pattern, const std::string& path) {
  const bool whole = pattern.find('/') != std::string::npos;
  const std::string name = whole ? path : path.substr(path.rfind('/') + 1);
  return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

}  // namespace

FileRules::FileRules(std::span<const std::string> rules) {
  for (const std::string& rule : rules) {
    const std::size_t equals = rule.find('=');
    const FilePolicy policy = parse_policy(std::string_view(rule).substr(0, equals), rule);
    const std::string pattern = equals == std::string::npos ? "" : rule.substr(equals + 1);
    if (equals != std::string::npos && pattern.empty()) parse_policy("", rule);
    rules_.push_back({policy, pattern});
  }
}

FilePolicy FileRules::of(const std::string& path, bool written) const {
  FilePolicy policy = FilePolicy::Reference;
  for (const Rule& rule : rules_) {
    if (rule.pattern.empty() ? written : fits(rule.pattern, path)) policy = rule.policy;
  }
  return policy;
}

}  // namespace crs::engine
