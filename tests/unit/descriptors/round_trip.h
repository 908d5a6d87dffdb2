// Carries a descriptor table from one process to another, as a checkpoint and a restart do: a child sets descriptors up
// and stops; this process captures them; the child is killed; another child restores them and looks at them.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/resources/descriptors/descriptors.h"

namespace crs::engine::testing {

// Throws `text` with errno if `condition` does not hold: for code that runs in the children, where gtest's own checks
// are not seen.
void require(bool condition, const std::string& text);

// A directory that goes away with the test.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class RoundTrip {
 public:
  RoundTrip();

  // Runs `set_up` in a child with an empty descriptor table and captures what it made. Throws what capture throws, or a
  // refusal.
  void capture(const std::function<void()>& set_up);
  // Validates the image as a restart command does.
  void check();
  // Restores in a child (after `before`, which may open things that are in the way or change files) and runs `look` in
  // it. Returns what went wrong, or "".
  std::string restore(const std::function<void()>& look, const std::function<void()>& before = {});
  // All of it; fails the test if anything goes wrong.
  void carry(const std::function<void()>& set_up, const std::function<void()>& look);

  image::Descriptors image;
  std::vector<std::string> warnings;
  std::vector<std::string>
      notes;  // of check(); those of restore() stay in the child and are seen by `look` through child_notes()
  std::vector<std::string> leave_out;
  CheckpointOptions wishes;
  RestartOptions options;
  std::array<int, 3> standard_streams{-1, -1, -1};
  bool commit = false;  // whether restore() also cuts files back
  TestFolder folder;    // snapshot, set-aside files, and room for the test

 private:
  void run_restored(const std::function<void()>& look);

  std::string snapshot_;
  int set_asides_ = 0;
};

// In the child that restore() makes: the notes so far.
const std::vector<std::string>& child_notes();

}  // namespace crs::engine::testing
