#include "descriptor_forgeries.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

namespace crs::test {
namespace {

image::Descriptor& last_descriptor(Snapshot& snapshot) {
  auto& descriptors = *snapshot.tree.mutable_descriptors();
  return *descriptors.mutable_descriptors(descriptors.descriptors_size() - 1);
}
image::OpenDescription& fresh_description(Snapshot& snapshot) {
  auto& descriptors = *snapshot.tree.mutable_descriptors();
  image::Descriptor& number = *descriptors.add_descriptors();
  number.set_number(descriptors.descriptors(descriptors.descriptors_size() - 2).number() + 1);
  number.set_description(static_cast<std::uint32_t>(descriptors.descriptions_size()));
  return *descriptors.add_descriptions();
}

}  // namespace

void add_descriptor_forgeries(std::vector<Forgery>& all) {
  const auto add = [&](const char* name, int status, const char* says, std::function<void(Snapshot&)> apply) {
    all.push_back({name, status, says, std::move(apply)});
  };
  add("descriptor-number-highest", kDamaged, "number 2147483647",
      [](Snapshot& s) { last_descriptor(s).set_number(0x7fffffff); });
  add("descriptor-number-above-limit", kFailed, "60000001 or more",
      [](Snapshot& s) { last_descriptor(s).set_number(60000000); });
  add("descriptor-number-negative", kDamaged, "number -1", [](Snapshot& s) { last_descriptor(s).set_number(-1); });
  add("descriptor-without-file", kDamaged, "descriptor table",
      [](Snapshot& s) { last_descriptor(s).set_description(1000000); });
  add("descriptor-of-no-kind", kDamaged, "kind", [](Snapshot& s) { fresh_description(s); });
  add("file-path-with-nul", kDamaged, "path", [](Snapshot& s) {
    fresh_description(s).mutable_regular_file()->mutable_file()->set_path(std::string("/etc/passwd\0x", 13));
  });
  add("file-missing", kFailed, "/nowhere/at/all",
      [](Snapshot& s) { fresh_description(s).mutable_regular_file()->mutable_file()->set_path("/nowhere/at/all"); });
  add("file-position-huge", kDamaged, "offset", [](Snapshot& s) {
    image::RegularFile& file = *fresh_description(s).mutable_regular_file();
    file.mutable_file()->set_path("/etc/passwd");
    file.mutable_file()->set_generated(true);
    file.set_position(kHuge);
  });
  add("device-with-state", kDamaged, "device", [](Snapshot& s) {
    image::Device& device = *fresh_description(s).mutable_device();
    device.set_path("/dev/tty");
    device.set_number(0x500);
  });
  add("pipe-that-is-not-there", kDamaged, "pipe",
      [](Snapshot& s) { fresh_description(s).mutable_pipe_end()->set_pipe(0x7fffffff); });
  add("pipe-capacity-huge", kDamaged, "pipe", [](Snapshot& s) {
    s.tree.mutable_descriptors()->add_pipes()->set_capacity(kHuge);
    fresh_description(s).mutable_pipe_end()->set_pipe(
        static_cast<std::uint32_t>(s.tree.descriptors().pipes_size() - 1));
  });
  add("content-outside-the-snapshot", kDamaged, "cannot be", [](Snapshot& s) {
    image::ContentObject& object = *s.tree.mutable_descriptors()->add_objects();
    object.set_origin(image::ContentObject::MEMFD);
    object.set_content("files/../../../../../etc/passwd");
    object.set_size(1);
    image::ContentObject::Extent& extent = *object.add_data();
    extent.set_bytes(1);
  });
  add("content-huge", kDamaged, "unlinked file", [](Snapshot& s) {
    image::ContentObject& object = *s.tree.mutable_descriptors()->add_objects();
    object.set_origin(image::ContentObject::MEMFD);
    object.set_size(kHuge);
  });
  const auto huge_file = [](Snapshot& s, std::uint64_t page_bytes, std::uint64_t size) -> image::ContentObject& {
    image::ContentObject& object = *s.tree.mutable_descriptors()->add_objects();
    object.set_origin(image::ContentObject::MEMFD);
    object.set_huge_page_bytes(page_bytes);
    object.set_size(size);
    return object;
  };
  constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20;
  constexpr const char* kSaysHuge = "a file of huge pages that cannot be";
  add("huge-file-of-small-pages", kDamaged, kSaysHuge, [=](Snapshot& s) { huge_file(s, kPage, kPage); });
  add("huge-file-of-odd-pages", kDamaged, kSaysHuge, [=](Snapshot& s) { huge_file(s, 3 * kPage, 3 * kPage); });
  add("huge-file-of-enormous-pages", kDamaged, kSaysHuge,
      [=](Snapshot& s) { huge_file(s, std::uint64_t{1} << 63, 0); });
  add("huge-file-of-half-a-page", kDamaged, kSaysHuge, [=](Snapshot& s) { huge_file(s, kHugePage, kHugePage / 2); });
  add("huge-file-executed", kDamaged, kSaysHuge, [=](Snapshot& s) { huge_file(s, kHugePage, 0).set_executed(true); });
  add("huge-file-mapped-as-another", kDamaged, "other pages than the file", [=](Snapshot& s) {
    huge_file(s, kHugePage, kHugePage);
    image::Area& area = *s.process.mutable_memory()->mutable_areas(0);
    area.set_kind(image::Area::SHARED_CONTENT);
    area.set_backing(static_cast<std::uint32_t>(s.tree.descriptors().objects_size() - 1));
  });
  const auto attribute = [](image::ContentObject& object, std::string_view name) {
    object.set_origin(image::ContentObject::MEMFD);
    object.add_extended_attributes()->set_name(std::string(name));
  };
  add("attribute-without-a-name", kDamaged, "extended attribute",
      [=](Snapshot& s) { attribute(*s.tree.mutable_descriptors()->add_objects(), ""); });
  add("attribute-twice", kDamaged, "extended attribute", [=](Snapshot& s) {
    image::ContentObject& object = *s.tree.mutable_descriptors()->add_objects();
    attribute(object, "user.one");
    attribute(object, "user.one");
  });
  add("attribute-with-nul", kDamaged, "extended attribute",
      [=](Snapshot& s) { attribute(*s.tree.mutable_descriptors()->add_objects(), std::string_view("user.\0one", 9)); });
  add("place-of-content-that-is-not-there", kDamaged, "an unlinked file or directory", [](Snapshot& s) {
    image::OpenDescription& description = fresh_description(s);
    description.set_status_flags(O_PATH);
    description.mutable_path_only()->set_type(S_IFREG);
    description.mutable_path_only()->set_object(0x7fffffff);
  });
  // `size`: of the directory, which can have none.
  const auto removed_directory = [](Snapshot& s, std::uint64_t size) {
    image::ContentObject& made = *s.tree.mutable_descriptors()->add_objects();
    made.set_origin(image::ContentObject::DIRECTORY);
    made.set_name("/nowhere/removed");
    made.set_mode(0700);
    made.set_size(size);
    return static_cast<std::uint32_t>(s.tree.descriptors().objects_size() - 1);
  };
  add("removed-directory-with-content", kDamaged, "removed directory",
      [=](Snapshot& s) { removed_directory(s, kPage); });
  add("removed-directory-is-not-there", kDamaged, "working directory",
      [](Snapshot& s) { s.process.mutable_attributes()->set_removed_working_directory(0x7fffffff); });
  add("file-in-a-removed-directorys-place", kDamaged, "an unlinked file or directory",
      [=](Snapshot& s) { fresh_description(s).mutable_content_file()->set_object(removed_directory(s, 0)); });
  add("executes-a-removed-directory", kDamaged, "removed directory", [=](Snapshot& s) {
    s.process.mutable_memory()->mutable_layout()->set_executable_object(removed_directory(s, 0));
  });
  add("executable-object-is-not-there", kDamaged, "executable",
      [](Snapshot& s) { s.process.mutable_memory()->mutable_layout()->set_executable_object(0x7fffffff); });
  const auto kept_file = [](Snapshot& s, const char* path) -> image::ContentObject& {
    image::ContentObject& file = *s.tree.mutable_descriptors()->add_kept_files();
    file.set_origin(image::ContentObject::PATH);
    file.set_name(path);
    return file;
  };
  add("kept-file-huge", kDamaged, "kept file", [=](Snapshot& s) { kept_file(s, "/nowhere/x").set_size(kHuge); });
  add("kept-file-twice", kDamaged, "two files at one path", [=](Snapshot& s) {
    kept_file(s, "/nowhere/x");
    kept_file(s, "/nowhere/x");
  });
  add("kept-file-of-no-path", kDamaged, "path", [=](Snapshot& s) { kept_file(s, "nowhere/x"); });
  add("kept-file-without-content", kDamaged, "bytes", [=](Snapshot& s) {
    image::ContentObject& file = kept_file(s, "/nowhere/x");
    file.set_size(1);
    file.add_data()->set_bytes(1);
  });
  add("lock-of-nothing", kDamaged, "lock", [](Snapshot& s) {
    image::FileLock& lock = *s.tree.mutable_descriptors()->add_locks();
    lock.set_type(image::FileLock::FLOCK);
    lock.set_number(12345);
  });
  add("socket-of-no-family", kDamaged, "socket",
      [](Snapshot& s) { fresh_description(s).mutable_dead_socket()->set_type(1); });
  add("socket-of-no-type", kDamaged, "socket", [](Snapshot& s) {
    image::DeadSocket& socket = *fresh_description(s).mutable_dead_socket();
    socket.set_family(1);
    socket.set_type(0x801);
  });
  add("epoll-of-nothing", kDamaged, "epoll", [](Snapshot& s) {
    image::Epoll::Watch& watch = *fresh_description(s).mutable_epoll()->add_watches();
    watch.set_registered_number(12345);
    watch.set_target_number(12345);
  });
  const auto queue = [](Snapshot& s) -> image::PosixMessageQueue& {
    image::PosixMessageQueue& made = *fresh_description(s).mutable_message_queue();
    made.set_most_messages(1);
    made.set_message_size(8);
    made.add_messages()->set_content("12345678");
    return made;
  };
  add("message-queue-with-too-many", kDamaged, "message queue", [=](Snapshot& s) { queue(s).add_messages(); });
  add("message-queue-message-too-long", kDamaged, "message queue",
      [=](Snapshot& s) { queue(s).mutable_messages(0)->set_content("123456789"); });
  add("message-queue-priority-too-high", kDamaged, "message queue",
      [=](Snapshot& s) { queue(s).mutable_messages(0)->set_priority(32768); });
  add("message-queue-of-a-path", kDamaged, "message queue", [=](Snapshot& s) { queue(s).set_name("/a/b"); });
}

}  // namespace crs::test
