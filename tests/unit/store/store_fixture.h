// What the tests of the store share: a directory that vanishes, and snapshots with little in them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/io.h"
#include "crs/error.hpp"
#include "store/store.h"

namespace crs {

class TemporaryDirectory {
 public:
  TemporaryDirectory() : path_(::testing::TempDir() + "crs-store-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot create a directory for the test");
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void write_text(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::create_directories(path.parent_path());
  // Committed files are read-only, which stops everybody but root.
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << text;
}

inline SnapshotRequest request_of(const std::string& job) {
  SnapshotRequest request;
  request.job = job;
  request.component = "test";
  request.component_version = "1.2.3";
  return request;
}

inline SnapshotContents some_contents() {
  SnapshotContents contents;
  contents.passes = {{"freeze", 1000}, {"memory", 2000}};
  contents.pause_nanoseconds = 3000;
  contents.memory_bytes = 4096;
  contents.warnings = {"nothing to worry about"};
  contents.pid = 4711;
  contents.threads = 3;
  contents.executable = "/usr/bin/sim\xff";
  contents.command_line = {"sim", "--steps", "10"};
  contents.working_directory = "/home/somebody";
  contents.cpu_features = {"avx2"};
  return contents;
}

// Commits a snapshot of `job` with the files "process" and "files/1".
inline Reference make_snapshot(Store& store, const std::string& job, const std::string& content = "the process") {
  const std::unique_ptr<SnapshotWriter> writer = store.begin(request_of(job));
  write_text(writer->location() + "/process", content);
  write_text(writer->location() + "/files/1", "an unlinked file");
  writer->commit(some_contents());
  return writer->reference();
}

// Runs `action`, which must throw an Error of `kind`, and gives its text.
inline std::string text_of_error(ErrorKind kind, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return "";
}

}  // namespace crs
