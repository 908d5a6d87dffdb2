// Regular files that a path reaches.
#pragma once

#include <optional>
#include <set>

#include "engine/resources/descriptors/kind.h"

namespace crs::engine {

class RegularFileKind : public Kind {
 public:
  Tag tag() const override { return Description::kRegularFile; }
  bool recognises(const TableCapture& table, const Seen& seen) override;
  void capture(TableCapture& table, const Seen& seen, Description& description) override;
  void check(TableCheck& table, const Description& description) override;
  Opener opener(const Description& description) const override;
  FileDescriptor open(TableRestore& table, const Description& description) override;

 private:
  bool is_written(const image::Descriptors& image, const std::string& path);

  std::optional<std::set<std::string>> written_;  // paths that some description writes to
};

}  // namespace crs::engine
