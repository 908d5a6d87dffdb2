#include "engine/newborn/newborn.h"

#include <sys/mman.h>
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
#include "engine/procfs/maps.h"

namespace crs::engine {
namespace {

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
    lift_descriptor_limit();
    channel.move_above(first_private_descriptor);
    for (const std::string& note : prepare()) channel.send(kNoteMessage, note);
    channel.send(kReadyMessage);
    // Nobody ever writes: this wait ends by being taken over or by the end of the restart command.
    char nothing = 0;
    while (::read(channel.descriptor(), &nothing, 1) < 0 && errno == EINTR) {
    }
  } catch (const std::exception& error) {
    channel.send_error(error);
  }
  ::_exit(1);
}

}  // namespace

Newborn::Newborn(const IdPlan& plan, pid_t pid, int first_private_descriptor, Prepare prepare)
    : maker_(make_maker(plan, pid)),
      first_private_descriptor_(first_private_descriptor),
      prepare_(std::move(prepare)),
      channel_(FileDescriptor()) {}

void Newborn::start() {
  const auto life = [this](Channel channel) { live(std::move(channel), first_private_descriptor_, prepare_); };
  channel_ = maker_->make(life, notes_);
  Channel::Message message;
  for (message = channel_.receive(kPatienceSeconds); message.kind == kNoteMessage;
       message = channel_.receive(kPatienceSeconds)) {
    notes_.push_back(message.text);
  }
  pid_ = message.sender;
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
  released_ = true;
  const pid_t program = pid_ > 0 ? pid_ : maker_->program();
  const pid_t init = maker_->init();
  if (program > 0) ::kill(program, SIGKILL);
  if (init > 0) ::kill(init, SIGKILL);
  if (pid_ > 0) reap_threads(pid_);
  if (program > 0) reap(program);
  if (init > 0) reap(init);
}

void Newborn::take_over() {
  constexpr unsigned long kOptions = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE;
  if (!maker_->traces()) ptrace::seize(pid_, kOptions);
  ptrace::interrupt(pid_);
  while (!ptrace::wait_for_stop(pid_).event_stop()) ptrace::resume(PTRACE_CONT, pid_);
  ptrace::set_options(pid_, kOptions);
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
  maker_->release();
  released_ = true;
}

}  // namespace crs::engine
