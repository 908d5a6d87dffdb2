// Asks every room for its part of every process of a tree that stands still.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/image/process.pb.h"
#include "engine/pages/process_pages.h"
#include "engine/passes.h"
#include "engine/resources/context.h"
#include "engine/survey.h"
#include "engine/tracee/stopped_tree.h"

namespace crs::engine {

// What the constructor is given must outlive it. Not thread-safe.
class TreeCapture {
 public:
  TreeCapture(const StoppedTree& tree, Surveys& surveys, const CheckpointOptions& options, Refusals& refusals,
              std::vector<std::string>& warnings, ContentStore& content, image::Tree& image);
  ~TreeCapture();
  TreeCapture(const TreeCapture&) = delete;
  TreeCapture& operator=(const TreeCapture&) = delete;

  // Fills the image. What cannot be kept is among the refusals afterwards.
  void run(Passes& passes);
  // The program is about to be ended. Otherwise what is held is given back before the tree is let go: this goes first.
  void keep_connections();
  // Of each process, which pages are to be saved.
  const std::vector<std::vector<PageArea>>& pages() const noexcept;

 private:
  class Rooms;
  std::unique_ptr<Rooms> rooms_;
};

}  // namespace crs::engine
