#include "engine/resources/descriptors/epolls/epolls.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <map>
#include <optional>

#include "base/error.h"
#include "engine/resources/descriptors/files/identity.h"

namespace crs::engine {
namespace {

// What stays of a watch's events when a one-shot watch has fired (eventpoll.c calls them private bits).
constexpr std::uint32_t kModeBits = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | static_cast<std::uint32_t>(EPOLLEXCLUSIVE);

// One "tfd:" line: "tfd: 5 events: 19 data: 5 pos:0 ino:1234 sdev:f".
struct WatchLine {
  int registered = -1;
  std::uint32_t events = 0;
  std::uint64_t data = 0;
  std::uint64_t inode = 0;
};

WatchLine parse_watch(std::string_view line) {
  const std::vector<std::string_view> words = words_of(line);
  std::optional<std::uint64_t> number, events, data, inode;
  if (!words.empty()) number = parse_number(words[0]);
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (words[i] == "events:" && i + 1 < words.size()) events = parse_number(words[i + 1], 16);
    if (words[i] == "data:" && i + 1 < words.size()) data = parse_number(words[i + 1], 16);
    if (words[i].starts_with("ino:")) inode = parse_number(words[i].substr(4), 16);
  }
  if (!number || !events || !data) fail(ErrorKind::Failed, "cannot understand the epoll watch '{}'", line);
  return {static_cast<int>(*number), static_cast<std::uint32_t>(*events), *data, inode.value_or(0)};
}

// ioctl_eventpoll(2), since Linux 6.9; the C library's headers are older.
struct BusyPolling {
  std::uint32_t microseconds = 0;
  std::uint16_t budget = 0;
  std::uint8_t preferred = 0;
  std::uint8_t padding = 0;
};
constexpr unsigned long kSetBusyPolling = _IOW(0x8a, 0x01, BusyPolling);
constexpr unsigned long kGetBusyPolling = _IOR(0x8a, 0x02, BusyPolling);

void capture_busy_polling(int epoll, image::Epoll& image) {
  BusyPolling polling;
  if (::ioctl(epoll, kGetBusyPolling, &polling) != 0) return;  // the kernel has none
  image.set_busy_poll_microseconds(polling.microseconds);
  image.set_busy_poll_budget(polling.budget);
  image.set_prefer_busy_poll(polling.preferred != 0);
}

void restore_busy_polling(int epoll, const image::Epoll& image, std::vector<std::string>& notes) {
  const BusyPolling polling{.microseconds = image.busy_poll_microseconds(),
                            .budget = static_cast<std::uint16_t>(image.busy_poll_budget()),
                            .preferred = static_cast<std::uint8_t>(image.prefer_busy_poll() ? 1 : 0)};
  if (polling.microseconds == 0 && polling.budget == 0 && polling.preferred == 0) return;
  if (::ioctl(epoll, kSetBusyPolling, &polling) == 0) return;
  notes.push_back(
      fmt::format("an epoll instance does not poll its network devices busily any more: {}", ::strerrordesc_np(errno)));
}

// Whether watch number `nth` of `epoll` among those registered under one number is of the description that `number` of
// process `pid` leads to.
bool watches(const TableCapture& table, const Seen& epoll, int registered, std::uint32_t nth, pid_t pid, int number) {
  const CapturedProcess& holder = table.holder(epoll);
  const kcmp_epoll_slot slot{static_cast<__u32>(epoll.first()), static_cast<__u32>(registered), nth};
  const long order = ::syscall(SYS_kcmp, pid, holder.pid, KCMP_EPOLL_TFD, number, &slot);
  if (order < 0) fail_errno(errno, "cannot find what {}, an epoll instance, watches", table.name_of(epoll));
  return order == 0;
}

bool watches(const TableCapture& table, const Seen& epoll, int registered, std::uint32_t nth,
             const SeenNumber& candidate) {
  return watches(table, epoll, registered, nth, table.processes[candidate.process].pid, candidate.number);
}

// A number that leads to the watched description now.
std::optional<SeenNumber> find_target(const TableCapture& table, const Seen& epoll, const WatchLine& watch,
                                      std::uint32_t nth) {
  const auto is_it = [&](const SeenNumber& candidate) {
    return watches(table, epoll, watch.registered, nth, candidate);
  };
  for (const SeenNumber& holder : epoll.numbers) {
    const SeenNumber likely{.number = watch.registered, .process = holder.process};
    if (table.find(likely.process, likely.number) != nullptr && is_it(likely)) return likely;
  }
  // Duplicated and closed under that number since.
  for (const Seen& one : table.seen) {
    if (!one.numbers.empty() && (watch.inode == 0 || one.status.st_ino == watch.inode) && is_it(one.numbers.front()))
      return one.numbers.front();
  }
  return std::nullopt;
}

// Who has a watched file open that no process of the program has.
std::string_view keeper_of(const TableCapture& table, const Seen& epoll, const WatchLine& watch, std::uint32_t nth) {
  const bool is_on_its_way = std::ranges::any_of(table.seen, [&](const Seen& one) {
    return one.numbers.empty() && watches(table, epoll, watch.registered, nth, ::getpid(), one.copy.get());
  });
  return is_on_its_way ? "it is on its way through a unix socket" : "a process outside keeps it open";
}

bool is_left_out(const TableCapture& table, const Seen& epoll, const WatchLine& watch, std::uint32_t nth) {
  return std::ranges::any_of(table.left_out, [&](const SeenNumber& candidate) {
    return watches(table, epoll, watch.registered, nth, candidate);
  });
}

// A descriptor number with something else behind it for a while.
class Stand {
 public:
  Stand(const TableRestore& table, int number, int target) : number_(number) {
    flags_ = ::fcntl(number, F_GETFD);
    if (flags_ >= 0) former_ = table.aside(FileDescriptor(::dup(number)));
    if (::dup2(target, number) < 0) fail_errno(errno, "cannot put a file at descriptor {}", number);
  }
  ~Stand() {
    if (!former_) {
      ::close(number_);
    } else {
      ::dup3(former_.get(), number_, (flags_ & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0);
    }
  }
  Stand(const Stand&) = delete;
  Stand& operator=(const Stand&) = delete;

 private:
  int number_;
  int flags_ = -1;
  FileDescriptor former_;
};

bool has_fired(const image::Epoll::Watch& watch) {
  return (watch.events() & ~kModeBits) == 0 && (watch.events() & EPOLLONESHOT) != 0;
}

int control(int epoll, int operation, int number, std::uint32_t events, std::uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return ::epoll_ctl(epoll, operation, number, &event) == 0 ? 0 : errno;
}

// A one-shot watch that has fired waits for EPOLL_CTL_MOD. It gets into that state only by firing, so it is let fire
// once if the file is ready for anything. Where it is not, it waits for errors and hang-ups, which epoll cannot be told
// to leave out.
int add_fired(int epoll, const image::Epoll::Watch& watch) {
  constexpr short kAnything = POLLIN | POLLOUT | POLLPRI | POLLRDHUP;
  pollfd ready{watch.registered_number(), kAnything, 0};
  if (::poll(&ready, 1, 0) <= 0)
    return control(epoll, EPOLL_CTL_ADD, watch.registered_number(), watch.events(), watch.data());
  const std::uint32_t all = watch.events() | EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP;
  const int problem = control(epoll, EPOLL_CTL_ADD, watch.registered_number(), all, watch.data());
  epoll_event fired{};
  if (problem == 0) static_cast<void>(::epoll_wait(epoll, &fired, 1, 0));
  return problem;
}

// Each process opens its own pidfds, when all processes are there, and a descendant of the root its own files in /proc:
// only then can they be watched.
bool is_watched_later(const image::Descriptors& image, const image::Epoll::Watch& watch) {
  if (is_of_one_process(image)) return false;
  const auto target = std::ranges::find_if(image.descriptors(), [&](const image::Descriptor& one) {
    return one.process() == watch.target_process() && one.number() == watch.target_number();
  });
  if (target == image.descriptors().end()) return false;
  const image::OpenDescription& description = image.descriptions(static_cast<int>(target->description()));
  if (description.has_pidfd()) return true;
  if (!description.has_regular_file() || opener_of(description.regular_file().file()) == Opener::Root) return false;
  return std::ranges::find(image.descriptors(), target->description(), &image::Descriptor::description)->process() != 0;
}

// The number by which a process has a description, or -1.
int number_in(const image::Descriptors& image, std::uint32_t process, const image::OpenDescription& description) {
  for (const image::Descriptor& one : image.descriptors()) {
    if (one.process() == process && &image.descriptions(static_cast<int>(one.description())) == &description)
      return one.number();
  }
  return -1;
}

int add_watch(const TableRestore& table, int epoll, const image::Epoll::Watch& watch) {
  const auto add = [&] {
    if (has_fired(watch)) return add_fired(epoll, watch);
    return control(epoll, EPOLL_CTL_ADD, watch.registered_number(), watch.events(), watch.data());
  };
  const bool in_place = table.is_single() && watch.registered_number() == watch.target_number();
  if (in_place) return add();
  const int target = table.is_single()
                         ? watch.target_number()
                         : table.place_of(table.description_of(watch.target_process(), watch.target_number()));
  // The epoll instance itself may be reached by the number that is lent.
  const FileDescriptor instance = table.aside(FileDescriptor(::dup(epoll)));
  const Stand stand(table, watch.registered_number(), target);
  epoll = instance.get();
  return add();
}

}  // namespace

bool EpollKind::recognises(const TableCapture& /*table*/, const Seen& seen) { return seen.is_anonymous("[eventpoll]"); }

void EpollKind::capture(TableCapture& table, const Seen& seen, Description& description) {
  image::Epoll& epoll = *description.mutable_epoll();
  if (seen.numbers.empty()) return table.refuse(seen, "an epoll instance");
  capture_busy_polling(seen.copy.get(), epoll);
  std::map<int, std::uint32_t> met;  // how many watches were registered under a number so far
  for (const std::string_view line : seen.info.all("tfd")) {
    const WatchLine watch = parse_watch(line);
    const std::uint32_t nth = met[watch.registered]++;
    const std::optional<SeenNumber> target = find_target(table, seen, watch, nth);
    if (!target && is_left_out(table, seen, watch, nth)) {
      table.context.warnings.push_back(
          fmt::format("after a restart {} does not watch what was left out as descriptor {}", table.name_of(seen),
                      watch.registered));
      continue;
    }
    if (!target) {
      table.refuse(seen, fmt::format("an epoll instance that watches a file registered as descriptor {}, which the "
                                     "process has closed while {}",
                                     watch.registered, keeper_of(table, seen, watch, nth)));
      continue;
    }
    image::Epoll::Watch& kept = *epoll.add_watches();
    kept.set_registered_number(watch.registered);
    kept.set_target_number(target->number);
    kept.set_target_process(target->process);
    kept.set_events(watch.events);
    kept.set_data(watch.data);
  }
}

void EpollKind::check(TableCheck& table, const Description& description) {
  if (description.epoll().busy_poll_budget() > std::numeric_limits<std::uint16_t>::max() ||
      description.epoll().busy_poll_microseconds() > std::numeric_limits<std::int32_t>::max())
    fail(ErrorKind::Damaged, "the snapshot has an epoll instance that polls as none can");
  for (const image::Epoll::Watch& watch : description.epoll().watches()) {
    const bool leads_somewhere = has_number(table.image, watch.target_process(), watch.target_number());
    if (!leads_somewhere || watch.registered_number() < 0 || watch.registered_number() > kHighestNumber) {
      fail(ErrorKind::Damaged, "the snapshot has an epoll watch of a descriptor that cannot be");
    }
  }
}

FileDescriptor EpollKind::open(TableRestore& table, const Description& description) {
  FileDescriptor opened(::epoll_create1(0));
  if (!opened) fail_errno(errno, "cannot make an epoll instance");
  restore_busy_polling(opened.get(), description.epoll(), table.context.notes);
  return opened;
}

void EpollKind::connect(TableRestore& table, const Description& description, int number) {
  // Those that have fired first: while no other watch is there, letting them fire takes no other event.
  std::vector<const image::Epoll::Watch*> watches;
  for (const image::Epoll::Watch& watch : description.epoll().watches()) watches.push_back(&watch);
  std::ranges::stable_partition(watches, [](const image::Epoll::Watch* watch) { return has_fired(*watch); });
  for (const image::Epoll::Watch* const watch : watches) {
    if (is_watched_later(table.image, *watch)) continue;
    const int problem = add_watch(table, number, *watch);
    if (problem == 0) continue;
    // What a standard stream leads to now, or what was left out, may be of a kind that epoll does not take.
    if (problem != EPERM && problem != EBADF) {
      fail_errno(problem, "cannot watch descriptor {} by the epoll descriptor {}", watch->registered_number(), number);
    }
    table.context.notes.push_back(fmt::format(
        "descriptor {} is not watched by epoll descriptor {} any more: it leads to something that epoll does not take",
        watch->registered_number(), number));
  }
}

void EpollKind::activate(TableActivation& table, const Description& description, int number) {
  for (const image::Epoll::Watch& watch : description.epoll().watches()) {
    if (!is_watched_later(table.image, watch)) continue;
    RestoreContext& target = *table.processes[watch.target_process()];
    const int epoll = number_in(table.image, watch.target_process(), description);
    epoll_event event{};
    event.events = watch.events();
    event.data.u64 = watch.data();
    const std::int64_t result = target.remote.raw_call(
        SYS_epoll_ctl, {static_cast<std::uint64_t>(epoll), EPOLL_CTL_ADD,
                        static_cast<std::uint64_t>(watch.target_number()), target.remote.put(event).value, 0, 0});
    if (result == 0) continue;
    table.context.notes.push_back(fmt::format("descriptor {} is not watched by epoll descriptor {} any more: {}",
                                              watch.registered_number(), number,
                                              ::strerrordesc_np(static_cast<int>(-result))));
  }
}

}  // namespace crs::engine
