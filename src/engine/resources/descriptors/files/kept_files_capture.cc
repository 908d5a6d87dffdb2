#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <map>

#include "base/error.h"
#include "base/file_birth.h"
#include "engine/resources/descriptors/content_copy.h"
#include "engine/resources/descriptors/extended_attributes.h"
#include "engine/resources/descriptors/files/file_rules.h"
#include "engine/resources/descriptors/files/kept_files.h"
#include "engine/resources/descriptors/huge_files.h"

namespace crs::engine {
namespace {

struct Used {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool written = false;
};

// The regular files that the tree has open, and those that it has mapped with others.
std::map<std::string, Used> used_files(std::span<const image::Memory* const> memories,
                                       const image::Descriptors& image) {
  std::map<std::string, Used> files;
  const auto add = [&](const std::string& path, std::uint64_t device, std::uint64_t inode, bool written) {
    Used& used = files[path];
    used = {device, inode, used.written || written};
  };
  for (const image::OpenDescription& description : image.descriptions()) {
    const image::FileIdentity& file = description.regular_file().file();
    if (!description.has_regular_file() || file.generated()) continue;
    add(file.path(), file.device(), file.inode(), (description.status_flags() & O_ACCMODE) != O_RDONLY);
  }
  for (const image::Memory* const memory : memories) {
    for (const image::MappedFile& file : memory->files()) {
      if (file.shared_areas()) add(file.path(), file.device(), file.inode(), file.writable());
    }
  }
  return files;
}

void keep(CaptureContext& context, const std::string& path, const Used& used, image::Descriptors& image) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status{};
  if (!file || ::fstat(file.get(), &status) != 0) {
    context.refusals.add(fmt::format("{}, whose content is to be kept (--files copy), cannot be read", path),
                         "chmod u+r it, or let it be a reference (--files reference=PATH)");
    return;
  }
  if (huge_page_bytes_of(file.get()) != 0) {
    context.refusals.add(fmt::format("{}, whose content is to be kept (--files copy), is a file of huge pages "
                                     "(hugetlbfs), which can be written to through a mapping alone",
                                     path),
                         fmt::format("let it be a reference (--files reference={})", path));
    return;
  }
  if (status.st_dev != used.device || status.st_ino != used.inode || !S_ISREG(status.st_mode))
    fail(ErrorKind::Failed, "{} was replaced by another file during the checkpoint", path);
  image::ContentObject& object = *image.add_kept_files();
  object.set_origin(image::ContentObject::PATH);
  object.set_device(status.st_dev);
  object.set_inode(status.st_ino);
  object.set_born(file_birth(file.get(), "", AT_EMPTY_PATH));
  object.set_name(path);
  object.set_size(static_cast<std::uint64_t>(status.st_size));
  object.set_mode(status.st_mode & 07777);
  object.set_owner(status.st_uid);
  object.set_group(status.st_gid);
  object.set_links(static_cast<std::uint32_t>(status.st_nlink));
  object.set_modified_seconds(status.st_mtim.tv_sec);
  object.set_modified_nanoseconds(static_cast<std::uint32_t>(status.st_mtim.tv_nsec));
  capture_extended_attributes(file.get(), path, object, context.warnings);
  if (object.size() == 0) return;
  if (!context.content.keeps()) return;
  auto [name, kept] = context.content.create();
  in_context("saving a file's content in the snapshot", [&] {
    if (pack_content(file.get(), object.size(), kept.get(), object, path) > 0) object.set_content(name);
  });
}

}  // namespace

void keep_files(CaptureContext& context, std::span<const image::Memory* const> memories, image::Descriptors& image) {
  const FileRules rules(context.options.files);
  if (rules.are_default()) return;
  for (const auto& [path, used] : used_files(memories, image)) {
    const FilePolicy policy = rules.of(path, used.written);
    if (policy == FilePolicy::Ignore) image.add_ignored_files(path);
    if (policy == FilePolicy::Copy) keep(context, path, used, image);
  }
}

}  // namespace crs::engine
