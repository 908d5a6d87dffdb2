#include "engine/tree_check.h"

#include <algorithm>
#include <cstdint>

#include "base/io.h"
#include "engine/resources/attributes/attributes.h"
#include "engine/resources/clocks/clocks.h"
#include "engine/resources/credentials/credentials.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/memory/huge_pages.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/memory/memory_supply.h"
#include "engine/resources/signals/signals.h"
#include "engine/resources/system_v/system_v.h"
#include "engine/resources/threads/threads.h"
#include "engine/resources/timers/timers.h"

namespace crs::engine {

image::Tree read_image(const std::string& location) {
  const std::string path = location + "/process";
  image::Tree tree;
  if (!tree.ParseFromString(read_file(path))) fail(ErrorKind::Damaged, "{} is not the image of a program", path);
  if (tree.processes().empty()) fail(ErrorKind::Damaged, "{} has no process", path);
  for (const image::Process& process : tree.processes()) {
    if (process.pid() <= 0) fail(ErrorKind::Damaged, "{} has a process without an id", path);
  }
  return tree;
}

std::vector<const image::Memory*> memories_of(const image::Tree& tree) {
  std::vector<const image::Memory*> memories;
  for (const image::Process& process : tree.processes()) {
    if (!process.zombie()) memories.push_back(&process.memory());
  }
  return memories;
}

std::vector<pid_t> process_ids_of(const image::Tree& tree) {
  std::vector<pid_t> ids;
  for (const image::Process& process : tree.processes()) ids.push_back(process.pid());
  return ids;
}

namespace {

// Every room's answer to "can this be brought back here?", before anything is started.
void check_process(CheckContext& context, const image::Process& image, std::uint32_t content_objects,
                   const PageData& pages, std::uint32_t index) {
  check_threads(context, image.threads());
  if (image.threads().threads(0).tid() != image.pid()) {
    fail(ErrorKind::Damaged, "the main thread of process {} has id {}", image.pid(), image.threads().threads(0).tid());
  }
  if (!image.memory().has_same_as()) check_memory(context, image.memory(), content_objects, pages, index);
  check_signals(context, image.signals());
  check_timers(context, image.timers());
  check_credentials(context, image.credentials());
  check_attributes(context, image.attributes(), content_objects);
}

void check_pidfds(const image::Tree& tree) {
  for (const image::OpenDescription& description : tree.descriptors().descriptions()) {
    const std::int32_t pid = description.pidfd().process();
    if (pid != 0 && std::ranges::find(tree.processes(), pid, &image::Process::pid) == tree.processes().end())
      fail(ErrorKind::Damaged, "the image has a pidfd of process {}, which is not in it", pid);
  }
}

// What refers to an object of the right kind; that there is one, check_process() has seen.
void check_kinds_of_objects(const image::Descriptors& descriptors, const image::Process& process) {
  const auto object = [&](std::uint32_t index) -> const image::ContentObject& {
    return descriptors.objects(static_cast<int>(index));
  };
  const auto is_directory = [&](std::uint32_t index) {
    return object(index).origin() == image::ContentObject::DIRECTORY;
  };
  const image::Attributes& attributes = process.attributes();
  const image::Layout& layout = process.memory().layout();
  const bool maps_directory = std::ranges::any_of(process.memory().areas(), [&](const image::Area& area) {
    const bool is_content = area.kind() == image::Area::SHARED_CONTENT || area.kind() == image::Area::PRIVATE_CONTENT;
    return is_content && is_directory(area.backing());
  });
  const bool works_in_file =
      attributes.has_removed_working_directory() && !is_directory(attributes.removed_working_directory());
  const bool executes_other = layout.has_executable_object() && !object(layout.executable_object()).executed();
  if (maps_directory || works_in_file || executes_other)
    fail(ErrorKind::Damaged, "the process has an unlinked file where a removed directory belongs, or the like");
}

}  // namespace

void check_tree(CheckContext& context, const image::Tree& tree, const PageData& pages) {
  const auto objects = static_cast<std::uint32_t>(tree.descriptors().objects_size());
  for (int i = 0; i < tree.processes_size(); ++i) {
    const image::Process& process = tree.processes(i);
    if (process.zombie()) continue;
    for_process(tree, process, [&] {
      check_process(context, process, objects, pages, static_cast<std::uint32_t>(i));
      check_kinds_of_objects(tree.descriptors(), process);
      validate_huge_files(process.memory(), tree.descriptors());
    });
  }
  check_clocks(tree.clocks());
  for (const image::Process& process : tree.processes()) check_clocks(process.clocks());
  check_system_v(context, tree);
  check_pidfds(tree);
  check_memory_supply(memories_of(tree));
  check_descriptors(context, tree.descriptors(), static_cast<std::uint32_t>(tree.processes_size()));
  check_huge_pages(memories_of(tree), tree.descriptors(), huge_pages_of_segments(context.content, tree.system_v()));
}

}  // namespace crs::engine
