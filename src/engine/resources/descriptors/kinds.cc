#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "base/error.h"
#include "engine/resources/descriptors/channels/channels.h"
#include "engine/resources/descriptors/devices/devices.h"
#include "engine/resources/descriptors/epolls/epolls.h"
#include "engine/resources/descriptors/eventfds/eventfds.h"
#include "engine/resources/descriptors/files/content_files.h"
#include "engine/resources/descriptors/files/directories.h"
#include "engine/resources/descriptors/files/path_only.h"
#include "engine/resources/descriptors/files/regular_files.h"
#include "engine/resources/descriptors/inet_sockets/inet_sockets.h"
#include "engine/resources/descriptors/inotifies/inotifies.h"
#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/left_out/left_out.h"
#include "engine/resources/descriptors/message_queues/message_queues.h"
#include "engine/resources/descriptors/netlink_sockets/netlink_sockets.h"
#include "engine/resources/descriptors/pidfds/pidfds.h"
#include "engine/resources/descriptors/pipes/pipes.h"
#include "engine/resources/descriptors/pseudo_terminals/pseudo_terminals.h"
#include "engine/resources/descriptors/signalfds/signalfds.h"
#include "engine/resources/descriptors/sockets/sockets.h"
#include "engine/resources/descriptors/standard_streams/standard_streams.h"
#include "engine/resources/descriptors/terminals/terminals.h"
#include "engine/resources/descriptors/timerfds/timerfds.h"
#include "engine/resources/descriptors/unix_sockets/unix_sockets.h"

namespace crs::engine {

std::vector<std::unique_ptr<Kind>> make_kinds() {
  std::vector<std::unique_ptr<Kind>> kinds;
  kinds.push_back(std::make_unique<LeftOutKind>());
  kinds.push_back(std::make_unique<ChannelKind>());
  kinds.push_back(std::make_unique<DeadSocketKind>());
  kinds.push_back(std::make_unique<PathOnlyKind>());
  kinds.push_back(std::make_unique<MessageQueueKind>());
  kinds.push_back(std::make_unique<ContentFileKind>());
  kinds.push_back(std::make_unique<RegularFileKind>());
  kinds.push_back(std::make_unique<DirectoryKind>());
  kinds.push_back(std::make_unique<DeviceKind>());
  kinds.push_back(std::make_unique<PipeKind>());
  kinds.push_back(std::make_unique<EventfdKind>());
  kinds.push_back(std::make_unique<TimerfdKind>());
  kinds.push_back(std::make_unique<SignalfdKind>());
  kinds.push_back(std::make_unique<EpollKind>());
  kinds.push_back(std::make_unique<PidfdKind>());
  kinds.push_back(std::make_unique<InotifyKind>());
  kinds.push_back(std::make_unique<PseudoTerminalKind>());
  kinds.push_back(std::make_unique<ControllingTerminalKind>());
  kinds.push_back(std::make_unique<UnixSocketKind>());
  kinds.push_back(std::make_unique<InetSocketKind>());
  kinds.push_back(std::make_unique<NetlinkSocketKind>());
  kinds.push_back(std::make_unique<StandardStreamKind>());
  return kinds;
}

Kind& kind_of(const std::vector<std::unique_ptr<Kind>>& kinds, const image::OpenDescription& description) {
  const auto found = std::ranges::find(kinds, description.kind_case(), [](const auto& kind) { return kind->tag(); });
  if (found == kinds.end())
    fail(ErrorKind::Damaged, "an open file description is of a kind that this version does not know");
  return **found;
}

std::vector<std::vector<image::Descriptor>> numbers_by_description(const image::Descriptors& image) {
  std::vector<std::vector<image::Descriptor>> numbers(static_cast<std::size_t>(image.descriptions_size()));
  for (const image::Descriptor& descriptor : image.descriptors())
    numbers.at(descriptor.description()).push_back(descriptor);
  return numbers;
}

std::pair<int, int> private_places(const image::Descriptors& image, int first_private_descriptor) {
  const int first =
      content_object_descriptor(first_private_descriptor, static_cast<std::uint32_t>(image.objects_size()));
  if (!is_of_one_process(image)) return {first, first + image.descriptions_size()};
  const std::vector<std::vector<image::Descriptor>> numbers = numbers_by_description(image);
  const auto in_flight = std::ranges::count_if(numbers, [](const auto& own) { return own.empty(); });
  return {first, first + static_cast<int>(in_flight)};
}

std::vector<int> places_of_descriptions(const image::Descriptors& image, int first_private_descriptor) {
  std::vector<int> places;
  int next = private_places(image, first_private_descriptor).first;
  const bool single = is_of_one_process(image);
  for (const std::vector<image::Descriptor>& own : numbers_by_description(image))
    places.push_back(single && !own.empty() ? own.front().number() : next++);
  return places;
}

namespace {

bool is_regular(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace

FileDescriptor open_again(const std::string& path, std::uint32_t flags) {
  constexpr std::uint32_t kTemporary = O_TMPFILE & ~O_DIRECTORY;
  flags &= ~static_cast<std::uint32_t>(O_CREAT | O_EXCL | O_TRUNC);
  // F_SETFL sets it later where it has a meaning, and only there (fcntl(2)): a regular file has it from open(2) alone.
  if ((flags & O_ASYNC) != 0 && !is_regular(path)) flags &= ~static_cast<std::uint32_t>(O_ASYNC);
  if ((flags & kTemporary) != 0) flags &= ~static_cast<std::uint32_t>(O_TMPFILE);
  if ((flags & O_PATH) == 0) flags |= O_NOCTTY | O_NONBLOCK;
  FileDescriptor opened(::open(path.c_str(), static_cast<int>(flags)));
  if (!opened) fail_errno(errno, "cannot open {}", path);
  return opened;
}

FileDescriptor reopen(int descriptor, std::uint32_t flags) {
  return open_again(fmt::format("/proc/self/fd/{}", descriptor), flags & ~static_cast<std::uint32_t>(O_NOFOLLOW));
}

std::string checked_path(const std::string& path) {
  if (!path.starts_with('/') || path.size() >= PATH_MAX || path.find('\0') != std::string::npos) {
    fail(ErrorKind::Damaged, "the snapshot names a file by a path that cannot be");
  }
  return path;
}

std::string leave_out_advice(int number) {
  return fmt::format(
      "close it before the checkpoint, or give --leave-out fd={}: then every use of it fails after the restart",
      number);
}

bool has_number(const image::Descriptors& image, std::uint32_t process, int number) {
  return std::ranges::binary_search(
      image.descriptors(), std::pair(process, number), {},
      [](const image::Descriptor& one) { return std::pair(one.process(), one.number()); });
}

bool is_of_one_process(const image::Descriptors& image) {
  if (!image.shared_tables().empty()) return false;
  return image.descriptors().empty() || image.descriptors(image.descriptors_size() - 1).process() == 0;
}

TableCapture::TableCapture(CaptureContext& captured, std::span<const CapturedProcess> tree,
                           image::Descriptors& descriptors, const std::vector<Seen>& table,
                           std::vector<SeenNumber> left)
    : context(captured), processes(tree), image(descriptors), seen(table), left_out(std::move(left)) {
  for (const Seen& one : seen) {
    for (const SeenNumber& number : one.numbers) by_number_.emplace(std::pair(number.process, number.number), &one);
  }
  for (std::uint32_t index = 0; index < processes.size(); ++index) {
    for (const pid_t tid : processes[index].threads) by_id_.emplace(tid, index);
  }
}

const Seen* TableCapture::find(std::uint32_t process, int number) const {
  const auto found = by_number_.find({processes[process].descriptors_of.value_or(process), number});
  return found == by_number_.end() ? nullptr : found->second;
}

std::optional<std::uint32_t> TableCapture::find_process(pid_t id) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return std::nullopt;
  return found->second;
}

std::string TableCapture::name_of(const Seen& one) const {
  if (one.numbers.empty())
    return fmt::format("a descriptor on its way through a unix socket of process {}", context.own_pid);
  const SeenNumber& number = number_to_tell(one);
  return fmt::format("descriptor {} of process {}", number.number, processes[number.process].own_pid);
}

bool TableCapture::is_expendable(const SeenNumber& number) const {
  return number.process == 0 &&
         std::ranges::find(context.options.expendable, number.number) != context.options.expendable.end();
}

bool TableCapture::is_expendable(const Seen& one) const {
  return !one.numbers.empty() &&
         std::ranges::all_of(one.numbers, [&](const SeenNumber& number) { return is_expendable(number); });
}

// Of several that lead to it, one that the program's layers do not reopen anyway.
const SeenNumber& TableCapture::number_to_tell(const Seen& one) const {
  const auto found =
      std::ranges::find_if(one.numbers, [&](const SeenNumber& number) { return !is_expendable(number); });
  return found == one.numbers.end() ? one.numbers.front() : *found;
}

std::optional<std::uint32_t> TableCapture::description_of(const Seen& one) const {
  const auto found = descriptions_.find(&one);
  return found == descriptions_.end() ? std::nullopt : std::optional(found->second);
}

void TableCapture::lack(const Seen& one, std::string_view what, std::string_view advice) {
  if (is_expendable(one)) {
    given_up_ = true;
    return;
  }
  tell_lack(context, fmt::format("{} is {}", name_of(one), what), std::string(advice));
}

void TableCapture::refuse(const Seen& one, std::string_view what) {
  if (is_expendable(one)) {
    given_up_ = true;
    return;
  }
  context.refusals.add(fmt::format("{} is {}", name_of(one), what),
                       one.numbers.empty() ? "let the program receive it before the checkpoint"
                                           : leave_out_advice(number_to_tell(one).number));
}

}  // namespace crs::engine
