#include "engine/resources/credentials/seccomp.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/io.h"
#include "engine/machine/machine.h"
#include "engine/tracee/newborn_thread.h"

namespace crs::engine {
namespace {

constexpr std::string_view kOff = "0";
constexpr std::string_view kStrict = "1";

std::string_view mode_in(const ProcessStatus& status) { return status.field("Seccomp").value_or(kOff); }

std::uint32_t filters_in(const ProcessStatus& status) {
  return status.field("Seccomp_filters") ? static_cast<std::uint32_t>(status.number("Seccomp_filters")) : 0;
}

// An unknown number of filters equals nothing.
bool same_filters(const ProcessStatus& one, const ProcessStatus& other) {
  const auto filters = one.field("Seccomp_filters");
  return filters && mode_in(one) == mode_in(other) && filters == other.field("Seccomp_filters");
}

// Why this process can neither see the filters of others nor get by them; nothing if it can.
std::optional<std::string> obstacle(const ProcessStatus& own) {
  if (mode_in(own) != kOff) return "crs is under seccomp itself: run it outside that container or sandbox";
  static const int trial = try_suspending_seccomp();  // of the kernel and the caller: it stays as it is
  if (trial == 0) return std::nullopt;
  if (trial == EPERM) return "this takes root (CAP_SYS_ADMIN, not only in a user namespace)";
  return "this kernel cannot (it needs CONFIG_CHECKPOINT_RESTORE)";
}

void refuse_thread(pid_t pid, pid_t tid, const ProcessStatus& own, Refusals& refusals) {
  const ProcessStatus status = ProcessStatus::of(tid);
  const std::string_view mode = mode_in(status);
  if (mode == kOff || same_filters(status, own)) return;
  const std::optional<std::string> why = obstacle(own);
  if (!why) return;
  const std::string what =
      mode == kStrict ? "in seccomp's strict mode"
                      : fmt::format("under {} seccomp filters", status.field("Seccomp_filters").value_or("some"));
  refusals.add(fmt::format("thread {} of process {} runs {}, which crs can neither see nor get by", tid, pid, what),
               *why);
}

}  // namespace

void refuse_seccomp(pid_t pid, Refusals& refusals, const ProcessStatus& own) {
  std::error_code gone;
  std::filesystem::directory_iterator tasks(fmt::format("/proc/{}/task", pid), gone);
  for (; !gone && tasks != std::filesystem::directory_iterator(); tasks.increment(gone)) {
    try {
      refuse_thread(pid, static_cast<pid_t>(std::stoi(tasks->path().filename())), own, refusals);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::ProgramGone) throw;  // a thread that ended meanwhile
    }
  }
  if (gone) fail(ErrorKind::ProgramGone, "process {} ended meanwhile", pid);
}

bool is_in_strict_mode(const ProcessStatus& status) { return mode_in(status) == kStrict; }

namespace {

constexpr std::uint32_t kNotify = SECCOMP_RET_USER_NOTIF;

bool is_instruction(const sock_filter& one, unsigned wanted) { return one.code == wanted; }

// Whether a filter may hand calls to another process (seccomp_unotify(2)): it has an instruction that returns that
// action, or one that loads it while another returns what has been loaded or computed.
bool may_notify(std::string_view program) {
  std::vector<sock_filter> code(program.size() / sizeof(sock_filter));
  std::memcpy(code.data(), program.data(), code.size() * sizeof(sock_filter));
  const auto has = [&](unsigned wanted, bool with_action) {
    return std::ranges::any_of(code, [&](const sock_filter& one) {
      return is_instruction(one, wanted) && (!with_action || (one.k & SECCOMP_RET_ACTION_FULL) == kNotify);
    });
  };
  if (has(BPF_RET | BPF_K, true)) return true;
  return has(BPF_RET | BPF_A, false) && (has(BPF_LD | BPF_IMM, true) || has(BPF_LDX | BPF_IMM, true));
}

}  // namespace

SeccompCapture::SeccompCapture(CaptureContext& context, image::Seccomp& seccomp)
    : context_(context), seccomp_(seccomp) {
  const ProcessStatus& own = context.surroundings->own_status();
  is_around_ = mode_in(own) != kOff;
  seccomp_.set_around(filters_in(own));
}

void SeccompCapture::add(pid_t tid, const ProcessStatus& status) {
  const std::string_view mode = mode_in(status);
  if (mode == kOff || is_around_) return;
  image::ThreadSeccomp& thread = *seccomp_.add_threads();
  thread.set_tid(innermost_id(status));
  thread.set_strict(mode == kStrict);
  if (!thread.strict()) add_filters(tid, thread);
}

void SeccompCapture::add_filters(pid_t tid, image::ThreadSeccomp& thread) {
  for (std::uint32_t i = 0;; ++i) {
    const std::optional<std::vector<std::byte>> filter = ptrace::seccomp_filter(tid, i);
    if (!filter) return;
    std::string program(filter->size(), '\0');
    std::memcpy(program.data(), filter->data(), filter->size());
    if (may_notify(program)) {
      context_.refusals.add(
          fmt::format("thread {} of process {} runs under a seccomp filter that asks another process what to do "
                      "(SECCOMP_RET_USER_NOTIF)",
                      thread.tid(), context_.own_pid),
          "that process's answers cannot be kept; start the program without its supervisor");
      return;
    }
    const bool logged = (ptrace::seccomp_filter_flags(tid, i) & SECCOMP_FILTER_FLAG_LOG) != 0;
    thread.add_filters(index_of(std::move(program), logged));
  }
}

std::uint32_t SeccompCapture::index_of(std::string program, bool logged) {
  const auto next = static_cast<std::uint32_t>(seccomp_.filters_size());
  const auto [known, is_new] = known_.try_emplace({program, logged}, next);
  if (is_new) {
    image::SeccompFilter& filter = *seccomp_.add_filters();
    filter.set_program(std::move(program));
    filter.set_logged(logged);
  }
  return known->second;
}

namespace {

void check_filter(const image::SeccompFilter& filter) {
  const std::size_t bytes = filter.program().size();
  if (bytes == 0 || bytes % sizeof(sock_filter) != 0 || bytes / sizeof(sock_filter) > BPF_MAXINSNS)
    fail(ErrorKind::Damaged, "the image has a seccomp filter of {} bytes", bytes);
}

// What the kernel allows in all (MAX_INSNS_PER_PATH of kernel/seccomp.c: each filter counts for four more).
void check_thread_filters(const image::Seccomp& seccomp, const image::ThreadSeccomp& thread) {
  constexpr std::size_t kMostInstructions = 32768;
  constexpr std::size_t kPenalty = 4;
  std::size_t instructions = 0;
  for (const std::uint32_t index : thread.filters()) {
    if (index >= static_cast<std::uint32_t>(seccomp.filters_size()))
      fail(ErrorKind::Damaged, "thread {} of the image has a seccomp filter that is not in it", thread.tid());
    instructions += seccomp.filters(static_cast<int>(index)).program().size() / sizeof(sock_filter) + kPenalty;
    if (instructions > kMostInstructions)
      fail(ErrorKind::Damaged, "thread {} of the image has more seccomp filters than there can be", thread.tid());
  }
  if (thread.strict() == (thread.filters_size() > 0))
    fail(ErrorKind::Damaged, "thread {} of the image has an impossible seccomp mode", thread.tid());
}

}  // namespace

void check_seccomp(CheckContext& context, const image::Seccomp& seccomp) {
  for (const image::SeccompFilter& filter : seccomp.filters()) check_filter(filter);
  for (const image::ThreadSeccomp& thread : seccomp.threads()) check_thread_filters(seccomp, thread);
  const ProcessStatus own = ProcessStatus::of(::getpid());
  if (!seccomp.threads().empty()) {
    if (const std::optional<std::string> why = obstacle(own))
      throw Error(ErrorKind::Refused,
                  fmt::format("the program ran under seccomp filters, which cannot be put back here: {}", *why));
  } else if (filters_in(own) != seccomp.around()) {
    context.notes.push_back(
        fmt::format("the program ran under {} seccomp filters of its container; here it runs under {}",
                    seccomp.around(), filters_in(own)));
  }
}

namespace {

// Puts filters around the threads of one process.
class Installer {
 public:
  Installer(RestoreContext& context, const image::Seccomp& seccomp) : context_(context), seccomp_(seccomp) {
    for (const image::ThreadSeccomp& thread : seccomp.threads()) {
      if (!context.threads.contains(thread.tid()) || !wanted_.emplace(thread.tid(), &thread).second)
        fail(ErrorKind::Damaged, "the image has seccomp filters for thread {}, which it has not", thread.tid());
    }
  }

  void run() {
    for (const auto& [tid, thread] : context_.threads)
      ptrace::set_options(thread->tid(), kNewbornOptions | PTRACE_O_SUSPEND_SECCOMP);
    const std::int64_t area = context_.remote.call("mmap", SYS_mmap, 0, kAreaBytes, PROT_READ | PROT_WRITE,
                                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    area_ = {static_cast<std::uint64_t>(area)};
    const int common = filters_of_all();
    const bool alone = context_.threads.size() == 1;
    const image::ThreadSeccomp& any = *wanted_.begin()->second;
    for (int i = 0; i < common; ++i) install(context_.remote, any.filters(i), alone ? 0 : SECCOMP_FILTER_FLAG_TSYNC);
    for (const auto& [tid, wanted] : wanted_) restore_own(*context_.threads.at(tid), *wanted, common);
    context_.remote.call("munmap", SYS_munmap, area_, kAreaBytes);
  }

 private:
  // How many of the oldest filters all threads have in common. To the kernel each of these is one again, which matters
  // to a program that later gives its threads one more (SECCOMP_FILTER_FLAG_TSYNC).
  int filters_of_all() const {
    if (wanted_.size() != context_.threads.size()) return 0;
    const image::ThreadSeccomp& first = *wanted_.begin()->second;
    int common = first.filters_size();
    for (const auto& [tid, other] : wanted_) {
      const auto end = std::ranges::mismatch(first.filters(), other->filters()).in1;
      common = std::min(common, static_cast<int>(end - first.filters().begin()));
    }
    return common;
  }

  void restore_own(RemoteCaller& thread, const image::ThreadSeccomp& wanted, int present) {
    if (wanted.strict()) thread.call("prctl(PR_SET_SECCOMP)", SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    for (int i = present; i < wanted.filters_size(); ++i) install(thread, wanted.filters(i), 0);
  }

  // What a filter does to speculation by default is undone by this flag: the threads have theirs already.
  void install(RemoteCaller& thread, std::uint32_t index, std::uint64_t flags) {
    const image::SeccompFilter& filter = seccomp_.filters(static_cast<int>(index));
    const RemoteAddress program = area_ + sizeof(sock_fprog);
    const sock_fprog whole{
        .len = static_cast<unsigned short>(filter.program().size() / sizeof(sock_filter)),
        .filter = reinterpret_cast<sock_filter*>(program.value)};  // NOLINT(performance-no-int-to-ptr)
    thread.memory().write_value(area_, whole);
    thread.memory().write(program, as_byte_span(filter.program()));
    flags |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    if (filter.logged()) flags |= SECCOMP_FILTER_FLAG_LOG;
    const std::int64_t result = thread.call("seccomp", SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, area_);
    if (result != 0) fail(ErrorKind::Failed, "thread {} cannot have the seccomp filters of the others", result);
  }

  static constexpr std::size_t kAreaBytes = 16 * kPageSize;
  static_assert(kAreaBytes >= sizeof(sock_fprog) + BPF_MAXINSNS * sizeof(sock_filter));

  RestoreContext& context_;
  const image::Seccomp& seccomp_;
  std::map<pid_t, const image::ThreadSeccomp*> wanted_;
  RemoteAddress area_;
};

}  // namespace

void restore_seccomp(RestoreContext& context, const image::Seccomp& seccomp) {
  if (!seccomp.threads().empty()) Installer(context, seccomp).run();
}

}  // namespace crs::engine
