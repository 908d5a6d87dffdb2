#include "engine/resources/descriptors/content_objects.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/other_names.h"
#include "engine/resources/descriptors/content_copy.h"
#include "engine/resources/descriptors/extended_attributes.h"
#include "engine/resources/descriptors/huge_files.h"
#include "engine/resources/memory/shared_view.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kMessageQueues = 0x19800202;  // MQUEUE_MAGIC of ipc/mqueue.c, in no public header

constexpr std::string_view kMemfdPrefix = "/memfd:";

struct stat status_of(int descriptor, std::string_view name) {
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) fail_errno(errno, "cannot look at {}", name);
  return status;
}

std::string name_of(std::string_view shown_path) {
  if (shown_path.ends_with(kDeleted)) shown_path.remove_suffix(kDeleted.size());
  if (shown_path.starts_with(kMemfdPrefix)) shown_path.remove_prefix(kMemfdPrefix.size());
  return std::string(shown_path);
}

bool may_be_read_through(int descriptor) {
  const int flags = ::fcntl(descriptor, F_GETFL);
  return flags >= 0 && (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_WRONLY;
}

// A descriptor of the process that is open on the inode, opened anew for reading, or one that reads itself; nothing if
// there is none.
FileDescriptor open_through_process(pid_t pid, int pidfd, dev_t device, ino_t inode) {
  const std::string folder = fmt::format("/proc/{}/fd", pid);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(folder.c_str()), ::closedir);
  if (!directory) return {};
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] == '.') continue;
    struct stat status{};
    if (::fstatat(::dirfd(directory.get()), entry->d_name, &status, 0) != 0) continue;
    if (status.st_ino != inode || status.st_dev != device || !S_ISREG(status.st_mode)) continue;
    FileDescriptor file(::openat(::dirfd(directory.get()), entry->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file) return file;
    FileDescriptor copy(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, ::atoi(entry->d_name), 0)));
    if (copy && may_be_read_through(copy.get())) return copy;
  }
  return {};
}

FileDescriptor open_through_mapping(pid_t pid, const MappedPiece& piece) {
  const std::string path = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, piece.start.value, piece.end.value);
  return FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

FileDescriptor open_source(const CaptureContext& context, dev_t device, ino_t inode,
                           std::span<const MappedPiece> pieces) {
  FileDescriptor file = open_through_process(context.pid, context.pidfd, device, inode);
  if (!file && !pieces.empty()) file = open_through_mapping(context.pid, pieces.front());
  return file;
}

// Reading a huge page that is not there brings it, which may be the last free one: also where the mapping has reserved
// pages, since a hole that was made later (fallocate(2)) has none. And if there is none, nothing tells that from the
// end of the file.
bool has_huge_pages(std::span<const MappedPiece> pieces) {
  return std::ranges::any_of(pieces, [](const MappedPiece& piece) { return piece.huge_page_bytes != 0; });
}

void refuse_unseen(CaptureContext& context, std::string_view shown_path) {
  context.refusals.add(fmt::format("which huge pages there are of {}, which process {} has mapped and not open, cannot "
                                   "be seen",
                                   shown_path, context.own_pid),
                       "Take the snapshot with CAP_CHECKPOINT_RESTORE, or let the program keep the file open");
}

// Also where the program itself may not read. False: there is no such page, since the file ends before it.
bool read_page(const RemoteMemory& memory, RemoteAddress address, std::span<std::byte> page) {
  if (memory.read_some(address, page) == page.size()) return true;
  try {
    memory.read_protected(address, page);
    return true;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::ProgramGone) throw;
    return false;
  }
}

// Whether what `area` maps of a file is all in the pieces.
bool show_all_of(std::span<const MappedPiece> pieces, const MappedPiece& area) {
  std::vector<MappedPiece> ordered(pieces.begin(), pieces.end());
  std::ranges::sort(ordered, {}, &MappedPiece::file_offset);
  std::uint64_t seen = area.file_offset;
  for (const MappedPiece& piece : ordered) {
    if (piece.file_offset <= seen) seen = std::max(seen, piece.file_offset + (piece.end - piece.start));
  }
  return seen >= area.file_offset + (area.end - area.start);
}

}  // namespace

bool content_can_be_read(int descriptor) {
  const std::string place = fmt::format("/proc/self/fd/{}", descriptor);
  return may_be_read_through(descriptor) || ::faccessat(AT_FDCWD, place.c_str(), R_OK, AT_EACCESS) == 0;
}

bool is_removed_directory(const struct stat& status, std::string_view shown_path) {
  return S_ISDIR(status.st_mode) && status.st_nlink == 0 && shown_path.ends_with(kDeleted);
}

bool is_memfd_path(std::string_view shown_path) { return shown_path.starts_with(kMemfdPrefix); }

std::optional<std::string> content_cannot_be_kept(int descriptor, std::string_view shown_path) {
  struct statfs file_system{};
  if (::fstatfs(descriptor, &file_system) != 0) fail_errno(errno, "cannot look at {}", shown_path);
  const auto type = static_cast<std::uint64_t>(file_system.f_type);
  if (type == SECRETMEM_MAGIC) return "secret memory (memfd_secret)";
  if (type == kMessageQueues) return "a POSIX message queue";  // looks like a regular file
  if (!S_ISREG(status_of(descriptor, shown_path).st_mode)) return "not a regular file";
  if (type == DMA_BUF_MAGIC) return "a dma-buf";
  return std::nullopt;
}

std::optional<std::uint32_t> ContentObjects::find(dev_t device, ino_t inode) const {
  const auto found = known_.find({device, inode});
  if (found == known_.end()) return std::nullopt;
  return found->second;
}

namespace {

void describe(const struct stat& status, std::string_view shown_path, image::ContentObject& object) {
  object.set_origin(is_memfd_path(shown_path) ? image::ContentObject::MEMFD : image::ContentObject::UNLINKED);
  object.set_device(status.st_dev);
  object.set_inode(status.st_ino);
  object.set_name(name_of(shown_path));
  object.set_size(static_cast<std::uint64_t>(status.st_size));
  object.set_mode(status.st_mode & 07777);
  object.set_owner(status.st_uid);
  object.set_group(status.st_gid);
  object.set_modified_seconds(status.st_mtim.tv_sec);
  object.set_modified_nanoseconds(static_cast<std::uint32_t>(status.st_mtim.tv_nsec));
}

}  // namespace

std::uint32_t ContentObjects::add(const struct stat& status, std::string_view shown_path) {
  const auto index = static_cast<std::uint32_t>(image_.objects_size());
  describe(status, shown_path, *image_.add_objects());
  known_[{status.st_dev, status.st_ino}] = index;
  return index;
}

std::uint32_t ContentObjects::begin_anew(std::uint32_t index, const struct stat& status, std::string_view shown_path) {
  image::ContentObject& object = *image_.mutable_objects(static_cast<int>(index));
  const std::string content = object.content();
  if (!content.empty()) std::filesystem::remove(store_.directory() + "/" + content);
  object.Clear();
  describe(status, shown_path, object);
  read_from_memory_.erase(index);
  return index;
}

std::uint32_t ContentObjects::keep(CaptureContext& context, int descriptor, std::string_view shown_path) {
  const struct stat status = status_of(descriptor, shown_path);
  const auto known = find(status.st_dev, status.st_ino);
  if (known && !read_from_memory_.contains(*known)) return *known;
  // An open description of its own: one that reads, and whose offset nobody else sees move.
  const std::string place = fmt::format("/proc/self/fd/{}", descriptor);
  const FileDescriptor source(::open(place.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!source && !may_be_read_through(descriptor)) fail_errno(errno, "cannot read {}", shown_path);
  const int readable = source ? source.get() : descriptor;
  const std::uint32_t index = known ? begin_anew(*known, status, shown_path) : add(status, shown_path);
  image::ContentObject& object = *image_.mutable_objects(static_cast<int>(index));
  if (object.origin() == image::ContentObject::MEMFD) {
    const int seals = ::fcntl(readable, F_GET_SEALS);
    if (seals < 0) fail_errno(errno, "cannot read the seals of {}", shown_path);
    object.set_seals(static_cast<std::uint32_t>(seals));
  }
  object.set_huge_page_bytes(huge_page_bytes_of(readable));
  capture_extended_attributes(readable, shown_path, object, context.warnings);
  if (object.size() == 0 || !store_.keeps()) return index;
  auto [name, file] = store_.create();
  // hugetlbfs knows no holes (SEEK_DATA), but reading one brings no page.
  const bool seeks = source && object.huge_page_bytes() == 0;
  const auto pack = seeks ? pack_content : pack_content_without_seeking;
  in_context("saving a file's content in the snapshot", [&] {
    if (pack(readable, object.size(), file.get(), object, shown_path) > 0) object.set_content(name);
  });
  return index;
}

std::optional<std::uint32_t> ContentObjects::keep_mapped(CaptureContext& context, dev_t device, ino_t inode,
                                                         std::string_view shown_path,
                                                         std::span<const MappedPiece> pieces, const MappedPiece& area) {
  if (const auto known = find(device, inode)) {
    if (is_known_to_be_in(*known, area)) return known;
    if (const FileDescriptor file = open_source(context, device, inode, pieces))
      return keep_opened(context, file, device, inode);
    context.refusals.add(
        fmt::format("the memory of process {} at {:#x}-{:#x} maps more of {} than another process of the program does, "
                    "and this user cannot open the file",
                    context.own_pid, area.start.value, area.end.value, shown_path),
        "let the program keep the file open, or let root take and restart the snapshot");
    return std::nullopt;
  }
  const FileDescriptor file = open_source(context, device, inode, pieces);
  if (!file && has_huge_pages(pieces)) {
    refuse_unseen(context, shown_path);
    return std::nullopt;
  }
  if (!file) return keep_from_memory(context, device, inode, std::string(shown_path), pieces);
  if (const auto reason = content_cannot_be_kept(file.get(), shown_path)) {
    context.refusals.add(
        fmt::format("the memory of process {} maps {}, which is {}", context.own_pid, shown_path, *reason),
        "end the program's use of it before the checkpoint");
    return std::nullopt;
  }
  return keep_opened(context, file, device, inode);
}

bool ContentObjects::is_known_to_be_in(std::uint32_t object, const MappedPiece& area) const {
  const auto read = read_from_memory_.find(object);
  return read == read_from_memory_.end() || show_all_of(read->second, area);
}

std::optional<std::uint32_t> ContentObjects::keep_whole(CaptureContext& context, dev_t device, ino_t inode,
                                                        std::string_view shown_path,
                                                        std::span<const MappedPiece> pieces, const MappedPiece& area) {
  if (const auto known = find(device, inode)) return is_known_to_be_in(*known, area) ? known : std::nullopt;
  const FileDescriptor file = open_source(context, device, inode, pieces);
  if (!file && !has_huge_pages(pieces) && show_all_of(pieces, area))
    return keep_from_memory(context, device, inode, std::string(shown_path), pieces);
  if (!file || content_cannot_be_kept(file.get(), shown_path)) return std::nullopt;
  return keep_opened(context, file, device, inode);
}

namespace {

// A removed directory keeps the one that it was in, which path resolution finds by ".." (path_resolution(7)).
void warn_of_removed_parent(CaptureContext& context, const std::string& link, std::string_view shown_path) {
  struct stat parent{};
  if (::stat((link + "/..").c_str(), &parent) != 0 || parent.st_nlink != 0) return;
  context.warnings.push_back(fmt::format(
      "the directory in which {} was is removed, too: after a restart \"..\" leads from there elsewhere", shown_path));
}

}  // namespace

std::uint32_t ContentObjects::keep_directory(CaptureContext& context, const std::string& link,
                                             const struct stat& status, std::string_view shown_path) {
  if (const auto known = find(status.st_dev, status.st_ino)) return *known;
  const std::uint32_t index = add(status, shown_path);
  image::ContentObject& object = *image_.mutable_objects(static_cast<int>(index));
  object.set_origin(image::ContentObject::DIRECTORY);
  object.set_size(0);
  warn_of_removed_parent(context, link, shown_path);
  if (::listxattr(link.c_str(), nullptr, 0) <= 0) return index;  // none, as nearly always
  const FileDescriptor directory(::open(link.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory) {
    capture_extended_attributes(directory.get(), shown_path, object, context.warnings);
  } else {
    context.warnings.push_back(fmt::format("the extended attributes of {} cannot be read ({}) and are not kept",
                                           shown_path, ::strerrordesc_np(errno)));
  }
  return index;
}

std::optional<std::uint32_t> ContentObjects::keep_executable(CaptureContext& context) {
  const std::string link = fmt::format("/proc/{}/exe", context.pid);
  const FileDescriptor file(::open(link.c_str(), O_RDONLY | O_CLOEXEC));
  const bool can_be = file && !content_cannot_be_kept(file.get(), link) && huge_page_bytes_of(file.get()) == 0;
  if (!can_be) return std::nullopt;
  const std::uint32_t index = keep(context, file.get(), read_link(link));
  image_.mutable_objects(static_cast<int>(index))->set_executed(true);
  return index;
}

std::uint32_t ContentObjects::keep_opened(CaptureContext& context, const FileDescriptor& file, dev_t device,
                                          ino_t inode) {
  // By its link: maps shows a newline as \012.
  const std::uint32_t index = keep(context, file.get(), read_link(fmt::format("/proc/self/fd/{}", file.get())));
  known_[{device, inode}] = index;  // on some file systems stat(2) gives another device than maps
  return index;
}

namespace {

// As maps shows it, but for its newlines.
std::string with_newlines(std::string shown_path) {
  constexpr std::string_view kNewline = "\\012";
  for (std::size_t at = 0; (at = shown_path.find(kNewline, at)) != std::string::npos; ++at)
    shown_path.replace(at, kNewline.size(), 1, '\n');
  return shown_path;
}

// What is not known of a file that nobody can open.
struct stat likely_status(dev_t device, ino_t inode, std::string_view shown_path) {
  struct stat status{};
  status.st_dev = device;
  status.st_ino = inode;
  status.st_mode = S_IFREG | (is_memfd_path(shown_path) ? 0777 : 0600);
  status.st_uid = ::geteuid();
  status.st_gid = ::getegid();
  ::clock_gettime(CLOCK_REALTIME, &status.st_mtim);
  return status;
}

// Reads what is mapped of a file, in order, into the file `to`.
class MappedContent {
 public:
  MappedContent(const CaptureContext& context, image::ContentObject& object, int to, std::string_view name)
      : context_(context), object_(object), to_(to), name_(name), page_(kPageSize) {}

  void add(const MappedPiece& piece) {
    std::optional<SharedView> view;
    if (piece.guarded) view.emplace(context_.remote, RemoteRange{piece.start, piece.end});
    const RemoteAddress start = view ? view->of(piece.start) : piece.start;
    const std::uint64_t piece_end = piece.file_offset + (piece.end - piece.start);
    for (std::uint64_t offset = std::max(end_, piece.file_offset); offset < piece_end; offset += kPageSize) {
      // Beyond the end of the file nothing can be read: that is where the file ends.
      if (!read_page(context_.memory, start + (offset - piece.file_offset), page_)) break;
      end_ = offset + kPageSize;
      if (is_zero(page_)) continue;
      pwrite_all(to_, name_, page_, packed_);
      append_extent(object_, offset, page_.size());
      packed_ += page_.size();
    }
  }
  std::uint64_t end() const { return end_; }
  std::uint64_t packed() const { return packed_; }

 private:
  const CaptureContext& context_;
  image::ContentObject& object_;
  int to_;
  std::string_view name_;
  std::vector<std::byte> page_;
  std::uint64_t packed_ = 0;
  std::uint64_t end_ = 0;
};

}  // namespace

std::uint32_t ContentObjects::keep_from_memory(const CaptureContext& context, dev_t device, ino_t inode,
                                               const std::string& shown_path, std::span<const MappedPiece> pieces) {
  const std::string path = with_newlines(shown_path);
  const std::uint32_t index = add(likely_status(device, inode, path), path);
  read_from_memory_.emplace(index, std::vector(pieces.begin(), pieces.end()));
  image::ContentObject& object = *image_.mutable_objects(static_cast<int>(index));
  if (!store_.keeps()) return index;
  std::vector<MappedPiece> ordered(pieces.begin(), pieces.end());
  std::ranges::sort(ordered, {}, &MappedPiece::file_offset);
  const auto [name, file] = store_.create();
  MappedContent content(context, object, file.get(), name);
  for (const MappedPiece& piece : ordered) content.add(piece);
  object.set_size(content.end());
  if (content.packed() > 0) object.set_content(name);
  return index;
}

}  // namespace crs::engine
