#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/io.h"
#include "engine/resources/descriptors/content_restore.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/descriptors/inet_sockets/kept_connections.h"
#include "engine/resources/descriptors/kind.h"
#include "engine/resources/descriptors/locks/locks.h"
#include "engine/resources/descriptors/pseudo_terminals/pseudo_terminals.h"
#include "engine/resources/descriptors/signal_owner.h"

namespace crs::engine {
namespace {

// The flags that F_SETFL sets, besides O_ASYNC (fcntl(2)).
constexpr std::uint32_t kSettableFlags = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;

void set_flags(int descriptor, std::uint32_t wanted) {
  const int current = ::fcntl(descriptor, F_GETFL);
  if (current < 0) fail_errno(errno, "cannot read the flags of descriptor {}", descriptor);
  if (((static_cast<std::uint32_t>(current) ^ wanted) & kSettableFlags) == 0) return;
  if (::fcntl(descriptor, F_SETFL, wanted & kSettableFlags) != 0)
    fail_errno(errno, "cannot set the flags of descriptor {}", descriptor);
}

// Puts `opened` at all its numbers. It has the lowest number that was free: one of them, or one that is still to be
// given to another.
void place(FileDescriptor opened, const std::vector<image::Descriptor>& numbers) {
  for (const image::Descriptor& descriptor : numbers) {
    const bool in_place = descriptor.number() == opened.get();
    const int placed = in_place ? ::fcntl(opened.get(), F_SETFD, descriptor.close_on_exec() ? FD_CLOEXEC : 0)
                                : ::dup3(opened.get(), descriptor.number(), descriptor.close_on_exec() ? O_CLOEXEC : 0);
    if (placed < 0) fail_errno(errno, "cannot put a file at descriptor {}", descriptor.number());
  }
  const bool stays = std::ranges::any_of(
      numbers, [&](const image::Descriptor& descriptor) { return descriptor.number() == opened.get(); });
  if (stays) static_cast<void>(opened.release());
}

// The part of the table that is `process`'s.
std::span<const image::Descriptor* const> numbers_of(const image::Descriptors& image, std::uint32_t process) {
  const auto& all = image.descriptors();
  const auto [first, last] = std::ranges::equal_range(all, process, {}, &image::Descriptor::process);
  return {all.data() + (first - all.begin()), static_cast<std::size_t>(last - first)};
}

// What no number leads to is held by the root at a private one until the program runs.
image::Descriptor in_flight_number(int number) {
  image::Descriptor descriptor;
  descriptor.set_number(number);
  descriptor.set_close_on_exec(true);
  return descriptor;
}

}  // namespace

std::string name_of(std::uint32_t process, int number, std::span<const pid_t> process_ids) {
  if (process_ids.size() < 2 || process >= process_ids.size()) return fmt::format("descriptor {}", number);
  return fmt::format("descriptor {} of process {}", number, process_ids[process]);
}

std::string name_of(const image::Descriptor& descriptor, std::span<const pid_t> process_ids) {
  return name_of(descriptor.process(), descriptor.number(), process_ids);
}

TableRestore::TableRestore(NewbornContext& newborn, const image::Descriptors& descriptors, bool takes_streams)
    : context(newborn),
      image(descriptors),
      single_(is_of_one_process(descriptors)),
      lowest_aside_(private_places(image, context.first_private_descriptor).second),
      places_(places_of_descriptions(image, context.first_private_descriptor)),
      firsts_(static_cast<std::size_t>(descriptors.descriptions_size())) {
  for (const image::Descriptor& descriptor : image.descriptors()) {
    const image::Descriptor*& first = firsts_.at(descriptor.description());
    if (first == nullptr) first = &descriptor;
  }
  if (!takes_streams) return;
  for (std::size_t stream = 0; stream < streams_.size(); ++stream) {
    const int given = context.standard_streams.at(stream);
    if (given < 0) continue;
    FileDescriptor copy(::dup(given));
    if (!copy) fail_errno(errno, "cannot take over standard stream {}", stream);
    streams_.at(stream) = aside(std::move(copy));
  }
  for (const image::OpenDescription& description : image.descriptions()) {
    const image::InetSocket& socket = description.inet_socket();
    if (!description.has_inet_socket() || socket.state() != image::InetSocket::KEPT) continue;
    if (context.connections == nullptr) fail(ErrorKind::Failed, "a TCP connection cannot be brought back here");
    connections_[socket.id()] = aside(FileDescriptor(::dup(context.connections->socket_of(socket.id()))));
  }
  if (context.options.channel >= 0) channel_ = aside(FileDescriptor(::dup(context.options.channel)));
}

FileDescriptor TableRestore::aside(FileDescriptor descriptor) const {
  if (!descriptor) fail_errno(errno, "cannot duplicate a descriptor");
  return duplicate_above(descriptor.get(), lowest_aside_);
}

int TableRestore::object(std::uint32_t index) const {
  return content_object_descriptor(context.first_private_descriptor, index);
}

std::uint32_t TableRestore::description_of(std::uint32_t process, int number) const {
  const auto found =
      std::ranges::lower_bound(image.descriptors(), std::pair(process, number), {},
                               [](const image::Descriptor& one) { return std::pair(one.process(), one.number()); });
  return found->description();
}

std::uint32_t TableRestore::holder_of(std::uint32_t description) const { return firsts_.at(description)->process(); }

bool TableRestore::is_first(const image::Descriptor& descriptor) const {
  return firsts_[descriptor.description()] == &descriptor;
}

namespace {

// Every description of the image with its index and its numbers, in the order of the image. `context` is a
// NewbornContext or a RestoreContext.
template <typename Context, typename Action>
void for_each_description(const image::Descriptors& image, const Context& context,
                          const std::vector<std::unique_ptr<Kind>>& kinds, Action&& action) {
  const std::vector<std::vector<image::Descriptor>> numbers = numbers_by_description(image);
  const std::vector<int> places = places_of_descriptions(image, context.first_private_descriptor);
  for (int i = 0; i < image.descriptions_size(); ++i) {
    const image::OpenDescription& description = image.descriptions(i);
    const auto index = static_cast<std::size_t>(i);
    std::vector<image::Descriptor> own = numbers[index];
    if (own.empty()) own.push_back(in_flight_number(places[index]));
    in_context(name_of(own.front(), context.process_ids),
               [&] { action(kind_of(kinds, description), static_cast<std::uint32_t>(i), own); });
  }
}

void close_all_but_private(const NewbornContext& context) {
  const bool closed = ::close_range(0, static_cast<unsigned>(context.first_private_descriptor) - 1, 0) == 0 &&
                      ::close_range(static_cast<unsigned>(context.end_private_descriptor), ~0U, 0) == 0;
  if (!closed) fail_errno(errno, "cannot close descriptors");
}

FileDescriptor open_description(TableRestore& table, Kind& kind, const image::OpenDescription& description) {
  FileDescriptor opened = kind.open(table, description);
  if (!opened) fail(ErrorKind::Failed, "no file could be opened");
  if (!kind.is_callers() && (description.status_flags() & O_PATH) == 0)
    set_flags(opened.get(), description.status_flags());
  return opened;
}

// What is on its way is the root's, which has it nowhere else.
bool is_opened_by_root(const TableRestore& table, const Kind& kind, std::uint32_t index) {
  if (table.is_single() || table.is_in_flight(index)) return true;
  const Opener opener = kind.opener(table.image.descriptions(static_cast<int>(index)));
  return opener == Opener::Root || (opener == Opener::Holder && table.holder_of(index) == 0);
}

void place_privately(FileDescriptor opened, int number) {
  if (::dup3(opened.get(), number, O_CLOEXEC) < 0) fail_errno(errno, "cannot keep a file at descriptor {}", number);
}

// Before locks are taken: closing a file gives up those of the process (fcntl(2)). The root keeps what is on its way:
// that may have to be activated.
void close_private_places(const TableRestore& table) {
  const auto [first, end] = private_places(table.image, table.context.first_private_descriptor);
  int start = first;
  const auto close_until = [&](int number) {
    if (start < number && ::close_range(static_cast<unsigned>(start), static_cast<unsigned>(number) - 1, 0) != 0)
      fail_errno(errno, "cannot close descriptors");
    start = number + 1;
  };
  for (std::uint32_t i = 0; table.context.process == 0 && i < static_cast<std::uint32_t>(end - first); ++i) {
    if (table.is_in_flight(i)) close_until(table.place_of(i));
  }
  close_until(end);
}

}  // namespace

struct OpenedDescriptions::State {
  State(NewbornContext& context, const image::Descriptors& image) : table(context, image), kinds(make_kinds()) {}
  TableRestore table;
  std::vector<std::unique_ptr<Kind>> kinds;
};

OpenedDescriptions::OpenedDescriptions(NewbornContext& context, const image::Descriptors& image)
    : state_(std::make_unique<State>(context, image)) {
  TableRestore& table = state_->table;
  close_all_but_private(context);
  make_content_objects(table);
  for_each_description(image, context, state_->kinds, [&](Kind& kind, std::uint32_t index, const auto& numbers) {
    const image::OpenDescription& description = image.descriptions(static_cast<int>(index));
    if (!is_opened_by_root(table, kind, index)) return;
    FileDescriptor opened = open_description(table, kind, description);
    if (table.is_single()) {
      place(std::move(opened), numbers);
    } else {
      place_privately(std::move(opened), table.place_of(index));
    }
  });
  table.makers.clear();
  take_controlling_terminal(table);
}

OpenedDescriptions::~OpenedDescriptions() = default;

void OpenedDescriptions::complete() {
  TableRestore& table = state_->table;
  const std::vector<std::unique_ptr<Kind>>& kinds = state_->kinds;
  const image::Descriptors& image = table.image;
  const NewbornContext& context = table.context;
  for (const std::unique_ptr<Kind>& kind : kinds) kind->complete(table);
  for_each_description(image, context, kinds, [&](Kind& kind, std::uint32_t index, const auto& /*numbers*/) {
    kind.connect(table, image.descriptions(static_cast<int>(index)), table.place_of(index));
  });
  finish_content_objects(table.context, image);
  if (!table.is_single()) return;
  set_foreground_group(table);
  for_each_description(image, context, kinds, [&](Kind& kind, std::uint32_t index, const auto& numbers) {
    if (kind.is_callers()) return;
    const image::OpenDescription& description = image.descriptions(static_cast<int>(index));
    restore_signal_owner(numbers.front().number(), description, context.process);
    restore_asynchronous_mode(numbers.front().number(), description);
  });
}

void open_own_inside(NewbornContext& context, const image::Descriptors& image) {
  if (is_of_one_process(image)) return;
  TableRestore table(context, image, /*takes_streams=*/false);
  const std::vector<std::unique_ptr<Kind>> kinds = make_kinds();
  for (const image::Descriptor* const entry : numbers_of(image, context.process)) {
    const image::Descriptor& descriptor = *entry;
    const image::OpenDescription& description = image.descriptions(static_cast<int>(descriptor.description()));
    Kind& kind = kind_of(kinds, description);
    if (!table.is_first(descriptor) || kind.opener(description) != Opener::Holder) continue;
    in_context(name_of(descriptor, context.process_ids), [&] {
      place_privately(open_description(table, kind, description), table.place_of(descriptor.description()));
    });
  }
}

void lead_session_inside(NewbornContext& context, const image::Descriptors& image) {
  if (!is_of_one_process(image)) take_controlling_terminal(TableRestore(context, image, /*takes_streams=*/false));
}

namespace {

// What only the process itself can ask for, while every description is at its private number.
void ask_for_own_inside(const TableRestore& table, const std::vector<std::unique_ptr<Kind>>& kinds) {
  const image::Descriptors& image = table.image;
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(image.descriptions_size()); ++i) {
    const image::OpenDescription& description = image.descriptions(static_cast<int>(i));
    const Kind& kind = kind_of(kinds, description);
    if (!kind.is_callers() && is_opened_by_root(table, kind, i)) {
      in_context("asking for its signals",
                 [&] { restore_signal_owner(table.place_of(i), description, table.context.process); });
    }
  }
  set_foreground_group(table);
}

// At its private number, unless it is there: opened for another number of this process, or inherited.
void open_where_missing(TableRestore& table, Kind& kind, const image::Descriptor& descriptor) {
  const image::OpenDescription& description = table.image.descriptions(static_cast<int>(descriptor.description()));
  const Opener opener = kind.opener(description);
  const int place = table.place_of(descriptor.description());
  if (opener == Opener::Root || ::fcntl(place, F_GETFD) >= 0) return;
  place_privately(open_description(table, kind, description), place);
  // Of a snapshot whose checkpoint did not look for that.
  if (opener == Opener::Holder && !table.is_first(descriptor)) {
    table.context.notes.push_back(
        fmt::format("{} is a file in /proc of this process itself now: it was one of a process that it has not "
                    "inherited it from",
                    name_of(descriptor, table.context.process_ids)));
  }
}

}  // namespace

void join_descriptors_inside(NewbornContext& context, const image::Descriptors& image) {
  ask_for_own_inside(TableRestore(context, image, /*takes_streams=*/false), make_kinds());
}

void place_descriptors_inside(NewbornContext& context, const image::Descriptors& image) {
  if (is_of_one_process(image)) {
    if (context.process != 0) close_all_but_private(context);  // it inherited the root's, and has none
    return;
  }
  TableRestore table(context, image, /*takes_streams=*/false);
  const std::vector<std::unique_ptr<Kind>> kinds = make_kinds();
  ask_for_own_inside(table, kinds);
  // A copy of a shared table may have been taken while another process had something open for a moment.
  close_all_but_private(context);
  for (const image::Descriptor* const entry : numbers_of(image, context.process)) {
    const image::Descriptor& descriptor = *entry;
    const image::OpenDescription& description = image.descriptions(static_cast<int>(descriptor.description()));
    Kind& kind = kind_of(kinds, description);
    in_context(name_of(descriptor, context.process_ids), [&] {
      open_where_missing(table, kind, descriptor);
      if (::dup3(table.place_of(descriptor.description()), descriptor.number(),
                 descriptor.close_on_exec() ? O_CLOEXEC : 0) < 0)
        fail_errno(errno, "cannot put a file there");
      if (!kind.is_callers() && table.is_first(descriptor)) restore_asynchronous_mode(descriptor.number(), description);
    });
  }
  close_private_places(table);
}

namespace {

TableActivation activation_of(std::uint32_t process, std::span<RestoreContext* const> processes,
                              const image::Descriptors& image) {
  return {*processes[process], image, processes};
}

}  // namespace

void activate_descriptors(std::span<RestoreContext* const> processes, const image::Descriptors& image) {
  seal_content_objects(processes, image);
  TableActivation root = activation_of(0, processes, image);
  take_locks(root);
  const std::vector<std::unique_ptr<Kind>> kinds = make_kinds();
  for_each_description(image, root.context, kinds, [&](Kind& kind, std::uint32_t index, const auto& numbers) {
    const image::OpenDescription& description = image.descriptions(static_cast<int>(index));
    TableActivation table = activation_of(numbers.front().process(), processes, image);
    kind.activate(table, description, numbers.front().number());
    if (!kind.is_callers()) activate_signal_owner(table, numbers.front().number(), description);
  });
  // What is on its way is in its messages now.
  const auto [first, end] = private_places(image, root.context.first_private_descriptor);
  if (first != end) root.context.remote.call("close_range", SYS_close_range, first, end - 1, 0);
}

}  // namespace crs::engine
