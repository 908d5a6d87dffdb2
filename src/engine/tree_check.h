// The image of a program: reading it, and every room's answer to "can this be brought back here?", before anything is
// started.
#pragma once

#include <fmt/format.h>
#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/image/process.pb.h"
#include "engine/pages/page_data.h"
#include "engine/resources/context.h"

namespace crs::engine {

// Of the snapshot in directory `location`. Throws Damaged.
image::Tree read_image(const std::string& location);

// Throws what stands in the way.
void check_tree(CheckContext& context, const image::Tree& tree, const PageData& pages);

// Of the processes that have not ended.
std::vector<const image::Memory*> memories_of(const image::Tree& tree);
// As they see themselves.
std::vector<pid_t> process_ids_of(const image::Tree& tree);

// The words by which an error names one of several processes.
template <typename Action>
void for_process(const image::Tree& tree, const image::Process& process, Action&& action) {
  if (tree.processes_size() == 1) return action();
  const std::string name = process.threads().threads().empty() ? "" : process.threads().threads(0).attributes().name();
  in_context(fmt::format("process {} ({})", process.pid(), name), action);
}

}  // namespace crs::engine
