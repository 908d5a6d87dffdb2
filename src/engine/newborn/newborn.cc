#include "engine/newborn/newborn.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/io.h"
#include "engine/newborn/init.h"
#include "engine/procfs/maps.h"
#include "engine/tracee/id_taken.h"

namespace crs::engine {
namespace {

constexpr char kReady = 'R';
constexpr char kNote = 'N';
constexpr char kGo = 'G';
constexpr int kPatienceSeconds = 120;

// fork(2) with an id and namespaces; the C library's own offers neither.
pid_t clone_process(std::uint64_t flags, pid_t wanted) {
  clone_args arguments{};
  arguments.flags = flags;
  arguments.exit_signal = SIGCHLD;
  if (wanted != 0) {
    arguments.set_tid = reinterpret_cast<std::uint64_t>(&wanted);
    arguments.set_tid_size = 1;
  }
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid >= 0) return static_cast<pid_t>(pid);
  const int problem = errno;
  fail_if_taken(problem, wanted);
  fail_errno(problem, "cannot make a process{}", wanted != 0 ? fmt::format(" with id {}", wanted) : "");
}

// Descriptors may have to be moved above what the restart command itself may have.
void lift_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

// The life of a newborn until it is taken over: prepare, report, wait.
[[noreturn]] void live(Channel channel, int first_private_descriptor, const Newborn::Prepare& prepare) {
  try {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    lift_descriptor_limit();
    channel.move_above(first_private_descriptor);
    for (const std::string& note : prepare()) channel.send(kNote, note);
    channel.send(kReady);
    // Nobody ever writes: this wait ends by being taken over or by the end of the restart command.
    char nothing = 0;
    while (::read(channel.descriptor(), &nothing, 1) < 0 && errno == EINTR) {
    }
  } catch (const std::exception& error) {
    channel.send_error(error);
  }
  ::_exit(1);
}

void write_file(const std::string& path, std::string_view text) {
  const FileDescriptor file = open_file(path, O_WRONLY);
  write_all(file.get(), path, as_byte_span(text));
}

// user_namespaces(7): an ordinary user maps exactly their own ids, and only after giving up setgroups(2).
void map_own_ids(pid_t init) {
  write_file(fmt::format("/proc/{}/setgroups", init), "deny");
  write_file(fmt::format("/proc/{}/uid_map", init), fmt::format("{0} {0} 1", ::geteuid()));
  write_file(fmt::format("/proc/{}/gid_map", init), fmt::format("{0} {0} 1", ::getegid()));
}

// Process ids in /proc must be those that the program sees.
void mount_own_proc() {
  if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) fail_errno(errno, "cannot make mounts private");
  if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    fail_errno(errno, "cannot mount /proc");
}

[[noreturn]] void live_as_init(Channel& to_command, StopReport& stops, pid_t pid, Channel& newborn_channel,
                               int first_private_descriptor, const Newborn::Prepare& prepare) {
  try {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    to_command.receive(kPatienceSeconds);  // the ids are mapped
    try {
      mount_own_proc();
    } catch (const Error& error) {
      to_command.send(kNote,
                      fmt::format("{}: in /proc the program finds process ids other than its own", error.what()));
    }
    const pid_t program = clone_process(0, pid);
    if (program == 0) {
      to_command.close();
      stops.close();
      live(std::move(newborn_channel), first_private_descriptor, prepare);
    }
    newborn_channel.close();
    to_command.send(kReady);
    run_init(program, to_command, stops);
  } catch (const std::exception& error) {
    to_command.send_error(error);
  }
  ::_exit(1);
}

void block_all_signals() {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
}

}  // namespace

Newborn::Newborn(IdPlan plan, pid_t pid, int first_private_descriptor, Prepare prepare)
    : plan_(std::move(plan)),
      wanted_(plan_.way == IdPlan::Way::Fresh ? 0 : pid),
      first_private_descriptor_(first_private_descriptor),
      prepare_(std::move(prepare)),
      channel_(FileDescriptor()) {}

void Newborn::start() {
  const bool in_namespace = plan_.way == IdPlan::Way::UserNamespace || plan_.way == IdPlan::Way::ProcessNamespace;
  if (in_namespace) {
    start_below_init();
  } else {
    start_in_place();
  }
  Channel::Message message;
  for (message = channel_.receive(kPatienceSeconds); message.kind == kNote;
       message = channel_.receive(kPatienceSeconds)) {
    notes_.push_back(message.text);
  }
  pid_ = message.sender;
}

void Newborn::start_in_place() {
  auto [mine, theirs] = Channel::make();
  pid_ = clone_process(0, wanted_);
  if (pid_ == 0) {
    block_all_signals();
    mine.close();
    live(std::move(theirs), first_private_descriptor_, prepare_);
  }
  channel_ = std::move(mine);
}

void Newborn::start_below_init() {
  auto [mine, theirs] = Channel::make();
  auto [to_init, from_init] = Channel::make();
  StopReport stops;
  const bool with_user = plan_.way == IdPlan::Way::UserNamespace;
  init_ = clone_process(CLONE_NEWPID | CLONE_NEWNS | (with_user ? CLONE_NEWUSER : 0), 0);
  if (init_ == 0) {
    block_all_signals();
    mine.close();
    to_init.close();
    live_as_init(from_init, stops, wanted_, theirs, first_private_descriptor_, prepare_);
  }
  channel_ = std::move(mine);
  theirs.close();
  from_init.close();
  to_init_ = std::move(to_init);
  if (with_user) map_own_ids(init_);
  to_init_->send(kGo);
  for (auto message = to_init_->receive(kPatienceSeconds); message.kind == kNote;
       message = to_init_->receive(kPatienceSeconds)) {
    notes_.push_back(message.text);
  }
}

namespace {

void reap(pid_t id) noexcept {
  int status = 0;
  pid_t got = 0;
  do {
    got = ::waitpid(id, &status, __WALL);
  } while ((got < 0 && errno == EINTR) || (got == id && !WIFEXITED(status) && !WIFSIGNALED(status)));
}

// Every thread of a killed process but its main one, whose end is reported only after that of all others (ptrace(2),
// "Death under ptrace"): waiting for it alone would never end.
void reap_threads(pid_t pid) noexcept {
  std::error_code failed;
  std::filesystem::directory_iterator tasks(fmt::format("/proc/{}/task", pid), failed);
  for (; !failed && tasks != std::filesystem::directory_iterator(); tasks.increment(failed)) {
    const pid_t tid = std::atoi(tasks->path().filename().c_str());
    if (tid > 0 && tid != pid) reap(tid);
  }
}

}  // namespace

Newborn::~Newborn() { end(); }

void Newborn::end() noexcept {
  if (released_) return;
  const pid_t child = wait_pid();
  if (child <= 0) return;
  if (pid_ > 0) ::kill(pid_, SIGKILL);
  ::kill(child, SIGKILL);
  if (pid_ > 0) reap_threads(pid_);
  if (pid_ > 0 && pid_ != child) reap(pid_);
  reap(child);
  released_ = true;
}

void Newborn::take_over() {
  ptrace::seize(pid_, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE);
  ptrace::interrupt(pid_);
  while (!ptrace::wait_for_stop(pid_).event_stop()) ptrace::resume(PTRACE_CONT, pid_);
  ptrace::set_signal_mask(pid_, ~std::uint64_t{0});
  memory_ = std::make_unique<RemoteMemory>(pid_);
  main_ = std::make_unique<NewbornThread>(pid_, *memory_);
}

namespace {

constexpr std::string_view kSyscall{"\x0f\x05", 2};

// Any `syscall` instruction that is mapped will do for the first call: the vDSO has several.
RemoteAddress find_syscall(const std::vector<MapsLine>& mappings, const RemoteMemory& memory) {
  const auto vdso = find_line(mappings, "[vdso]");
  if (!vdso) fail(ErrorKind::Failed, "this system maps no vDSO into its processes");
  std::string code(vdso->range.size(), '\0');
  memory.read(vdso->range.start, std::as_writable_bytes(std::span(code.data(), code.size())));
  const std::size_t found = code.find(kSyscall);
  if (found == std::string::npos) fail(ErrorKind::Failed, "this system's vDSO holds no system call instruction");
  return vdso->range.start + found;
}

// The lowest hole of `bytes` outside `taken`, well above address 0 and any brk heap's beginning.
RemoteAddress find_hole(std::vector<RemoteRange> taken, std::uint64_t bytes) {
  std::ranges::sort(taken, {}, &RemoteRange::start);
  RemoteAddress candidate{0x10000000};
  for (const RemoteRange& range : taken) {
    if (candidate + bytes + kPageSize <= range.start) break;
    candidate = std::max(candidate, range.end + kPageSize);
  }
  return candidate;
}

}  // namespace

RemoteRange Newborn::settle(const std::vector<RemoteRange>& occupied) {
  constexpr std::uint64_t kHomeBytes = 4 * kPageSize;
  const std::vector<MapsLine> mappings = read_maps(pid_);
  std::vector<RemoteRange> taken = occupied;
  for (const MapsLine& mapping : mappings) taken.push_back(mapping.range);
  const RemoteAddress home = find_hole(std::move(taken), kHomeBytes);
  const RemoteAddress scratch = home + kPageSize;

  main_->settle(find_syscall(mappings, *memory_), scratch);
  main_->call("mmap", SYS_mmap, home, kHomeBytes, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  memory_->write(home, as_byte_span(kSyscall));
  main_->call("mprotect", SYS_mprotect, home, kPageSize, PROT_READ | PROT_EXEC);
  main_->settle(home, scratch);
  return {home, home + kHomeBytes};
}

void Newborn::release() {
  if (to_init_) {
    // Only after its answer may this process end: until then its end is the init's and so the program's.
    to_init_->send(kGo);
    to_init_->receive(kPatienceSeconds);
  }
  released_ = true;
}

}  // namespace crs::engine
