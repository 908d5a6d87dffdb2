// What a snapshot keeps of the regular files that a program has open: `crs checkpoint --files`.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace crs::engine {

enum class FilePolicy {
  Reference,  // their paths; a restart compares what stands there then
  Copy,       // their content, too, which a restart brings back
  Ignore,     // their paths; a restart takes what stands there then
};

class FileRules {
 public:
  // Each rule is POLICY ("reference", "copy", "ignore"), for the files that the program writes to, or POLICY=GLOB, for
  // every file whose path fits GLOB (fnmatch(3), where '*' takes in '/'); a GLOB without '/' is for the last part of
  // the path. Of several that apply to a file the last one counts. Throws an Error of kind Usage.
  explicit FileRules(std::span<const std::string> rules);

  // `written`: the program has the file open for writing, or mapped so that it may write to it.
  FilePolicy of(const std::string& path, bool written) const;
  // Whether every file is only a reference.
  bool are_default() const noexcept { return rules_.empty(); }

 private:
  struct Rule {
    FilePolicy policy;
    std::string pattern;  // empty: files that are written to
  };
  std::vector<Rule> rules_;
};

}  // namespace crs::engine
