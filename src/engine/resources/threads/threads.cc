#include "engine/resources/threads/threads.h"

#include <fmt/format.h>
#include <linux/futex.h>
#include <linux/rseq.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/io.h"
#include "engine/newborn/newborn.h"
#include "engine/procfs/maps.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"
#include "engine/resources/attributes/attributes.h"
#include "engine/resources/processor/thread_segments.h"
#include "engine/resources/signals/signals.h"
#include "engine/tracee/id_taken.h"
#include "engine/tracee/interruption.h"

namespace crs::engine {
namespace {

user_regs_struct registers_of(const image::Thread& thread) {
  user_regs_struct registers{};
  if (thread.ended()) return registers;
  std::memcpy(&registers, thread.registers().data(), sizeof registers);
  return registers;
}

// What the kernel set up for the C library of the restart command and would go on writing to.
void forget_rseq(NewbornThread& thread) {
  const ptrace::RseqConfiguration rseq = ptrace::rseq_configuration(thread.tid());
  if (rseq.address != 0) {
    thread.call("rseq", SYS_rseq, rseq.address, rseq.size, RSEQ_FLAG_UNREGISTER, rseq.signature);
  }
}

// C libraries keep a thread's id where the kernel clears it when the thread ends (set_tid_address(2)); glibc and musl
// use that copy.
void correct_cached_id(const RemoteMemory& memory, const image::Thread& thread, pid_t fresh) {
  if (thread.cleared_at() == 0) return;
  const RemoteAddress place{thread.cleared_at()};
  if (memory.read_value<pid_t>(place) == thread.tid()) memory.write_value(place, fresh);
}

void correct_owner(const RemoteMemory& memory, RemoteAddress word, pid_t old, pid_t fresh) {
  const auto value = memory.read_value<std::uint32_t>(word);
  if ((value & FUTEX_TID_MASK) != static_cast<std::uint32_t>(old)) return;
  memory.write_value(word, (value & ~std::uint32_t{FUTEX_TID_MASK}) | static_cast<std::uint32_t>(fresh));
}

// The mutexes that a thread holds and that the kernel would release at its end (get_robust_list(2)): it knows their
// owner by the id in them, and so does the C library. The list is the program's and may be broken: then it ends there.
void correct_held_mutexes(const RemoteMemory& memory, const image::Thread& thread, pid_t fresh) {
  if (thread.robust_list() == 0 || thread.robust_list_bytes() != sizeof(robust_list_head)) return;
  constexpr std::uint64_t kInheritsPriority = 1;  // marked in the pointer to the entry
  constexpr long kGlibcOffset = -32;              // from the list's entry to the mutex, of glibc's pthread_mutex_t
  constexpr std::size_t kOwnerCopy = 8;           // __data.__owner, from the futex
  try {
    const auto head = memory.read_value<robust_list_head>({thread.robust_list()});
    const auto correct = [&](std::uint64_t entry) {
      const RemoteAddress word{(entry & ~kInheritsPriority) + static_cast<std::uint64_t>(head.futex_offset)};
      correct_owner(memory, word, thread.tid(), fresh);
      if (head.futex_offset == kGlibcOffset) correct_owner(memory, word + kOwnerCopy, thread.tid(), fresh);
    };
    if (head.list_op_pending != nullptr) correct(reinterpret_cast<std::uint64_t>(head.list_op_pending));
    auto entry = reinterpret_cast<std::uint64_t>(head.list.next);
    for (int i = 0; i < ROBUST_LIST_LIMIT && (entry & ~kInheritsPriority) != thread.robust_list(); ++i) {
      correct(entry);
      entry = memory.read_value<std::uint64_t>({entry & ~kInheritsPriority});
    }
  } catch (const Error&) {  // as the kernel does at the thread's end (handle_futex_death)
  }
}

}  // namespace

void foresee_thread(Questions& questions) {
  questions.of_thread.push_back({SYS_prctl, {PR_GET_TID_ADDRESS}, 1});
  foresee_thread_signals(questions);
  foresee_thread_attributes(questions);
}

void capture_thread(CaptureContext& context, const StoppedThread& thread, RemoteCaller& remote, image::Thread& image) {
  image.set_tid(innermost_id(context.statuses.of(thread.tid)));
  image.set_registers(&thread.registers, sizeof thread.registers);
  image.set_extended_state(thread.extended_state.data(), thread.extended_state.size());
  image.set_segments(thread_segments_of(thread.tid));
  image.set_signal_mask(thread.signal_mask);
  image.set_rseq_address(thread.rseq.address);
  image.set_rseq_bytes(thread.rseq.size);
  image.set_rseq_signature(thread.rseq.signature);

  remote.call("prctl PR_GET_TID_ADDRESS", SYS_prctl, PR_GET_TID_ADDRESS, remote.scratch());
  image.set_cleared_at(remote.get<std::uint64_t>());

  robust_list_head* head = nullptr;
  std::size_t bytes = 0;
  if (::syscall(SYS_get_robust_list, thread.tid, &head, &bytes) != 0)
    fail_errno(errno, "get_robust_list of thread {}", thread.tid);
  image.set_robust_list(reinterpret_cast<std::uint64_t>(head));
  image.set_robust_list_bytes(bytes);

  capture_thread_signals(context, remote, *image.mutable_signals());
  capture_thread_attributes(context, remote, *image.mutable_attributes());
  if (thread.wait) {
    image.mutable_timed_wait()->set_call(thread.wait->call);
    image.mutable_timed_wait()->set_remaining_nanoseconds(thread.wait->remaining.value_or(0));
  }
}

void capture_ended_thread(pid_t pid, image::Thread& image) {
  constexpr int kExitStatus = 52;  // field of /proc/PID/stat
  image.set_tid(innermost_id(pid));
  image.set_ended(true);
  image.set_exit_status(static_cast<std::uint32_t>(WEXITSTATUS(stat_number(pid, kExitStatus))));
  image.mutable_attributes()->set_name(name_of_process(pid));
}

ThreadRestart::ThreadRestart(NewbornThread& main, const image::Threads& image) : image_(image) {
  forget_rseq(main);
  entries_.push_back({.image = &image.threads(0), .thread = &main, .registers = registers_of(image.threads(0))});
}

namespace {

pid_t make_thread(NewbornThread& main, const image::Thread& image, IdPlan::ThreadIds ids) {
  try {
    return main.clone(ids == IdPlan::ThreadIds::New ? 0 : image.tid(), {image.cleared_at()});
  } catch (const IdTaken&) {
    if (ids != IdPlan::ThreadIds::KeepIfFree) throw;
    return main.clone(0, {image.cleared_at()});
  }
}

}  // namespace

void ThreadRestart::create(RestoreContext& context, IdPlan::ThreadIds ids) {
  NewbornThread& main = *entries_.front().thread;
  main.call("set_tid_address", SYS_set_tid_address, image_.threads(0).cleared_at());
  for (int i = 1; i < image_.threads_size(); ++i) {
    const image::Thread& image = image_.threads(i);
    const pid_t tid = make_thread(main, image, ids);
    created_.push_back(std::make_unique<NewbornThread>(tid, context.memory));
    NewbornThread& thread = *created_.back();
    thread.settle(context.reserved.start, context.reserved.start + kPageSize);
    entries_.push_back({.image = &image, .thread = &thread, .registers = registers_of(image)});
  }
  for (const Entry& entry : entries_) {
    const pid_t fresh = innermost_id(entry.thread->tid());
    context.threads[entry.image->tid()] = entry.thread;
    context.new_ids[entry.image->tid()] = fresh;
    if (fresh == entry.image->tid() || entry.image->ended()) continue;
    correct_cached_id(context.memory, *entry.image, fresh);
    correct_held_mutexes(context.memory, *entry.image, fresh);
  }
}

namespace {

// At its end the kernel must find nothing of the restart command's in the program's memory.
void make_forgotten(NewbornThread& thread, const image::Thread& image) {
  thread.call("set_robust_list", SYS_set_robust_list, 0, sizeof(robust_list_head));
  std::array<char, 16> name{};  // TASK_COMM_LEN
  image.attributes().name().copy(name.data(), name.size() - 1);
  thread.call("prctl(PR_SET_NAME)", SYS_prctl, PR_SET_NAME, thread.put(name));
}

}  // namespace

void ThreadRestart::restore(RestoreContext& context, const image::Timers& timers) {
  for (const Entry& entry : entries_) {
    const image::Thread& image = *entry.image;
    if (image.ended()) {
      make_forgotten(*entry.thread, image);
      continue;
    }
    if (image.robust_list() != 0) {
      entry.thread->call("set_robust_list", SYS_set_robust_list, image.robust_list(), image.robust_list_bytes());
    }
    if (image.rseq_address() != 0) {
      entry.thread->call("rseq", SYS_rseq, image.rseq_address(), image.rseq_bytes(), 0, image.rseq_signature());
    }
    restore_thread_signals(context, *entry.thread, image, timers);
    restore_thread_attributes(context, *entry.thread, image.attributes());
    set_thread_segments(entry.thread->tid(), image.segments());
    // Remote calls do not touch it, so it need not wait until nothing may fail any more.
    const auto* const state = reinterpret_cast<const std::byte*>(image.extended_state().data());
    ptrace::set_extended_state(entry.thread->tid(), {state, state + image.extended_state().size()});
  }
}

void ThreadRestart::restore_after_credentials(RestoreContext& context) {
  for (const Entry& entry : entries_) finish_thread_attributes(context, *entry.thread, entry.image->attributes());
}

namespace {

// Its signals stay blocked.
void lead_into_exit(const NewbornThread& thread, std::uint32_t status) {
  user_regs_struct registers = ptrace::registers(thread.tid());
  registers.rip = find_syscall(read_maps(thread.tid()), thread.memory()).value;
  registers.orig_rax = ~std::uint64_t{0};
  registers.rax = SYS_exit;
  registers.rdi = status;
  ptrace::set_registers(thread.tid(), registers);
}

}  // namespace

void ThreadRestart::finish(RestoreContext& context) {
  NewbornThread& main = *entries_.front().thread;
  main.call("close_range", SYS_close_range, context.first_private_descriptor, context.end_private_descriptor - 1, 0);
  for (Entry& entry : entries_) {
    if (entry.image->has_timed_wait()) {
      entry.wait_ends = monotonic_nanoseconds() + entry.image->timed_wait().remaining_nanoseconds();
      entry.registers = continue_timed_wait(*entry.thread, entry.registers, entry.image->timed_wait());
    } else if (static_cast<long>(entry.registers.rax) == -kRestartBlock &&
               static_cast<long>(entry.registers.orig_rax) >= 0) {
      entry.registers = with_call_restarted(entry.registers);
    }
  }
  main.call("munmap", SYS_munmap, context.reserved.start, context.reserved.size());
  for (const Entry& entry : entries_) {
    if (entry.image->ended()) {
      lead_into_exit(*entry.thread, entry.image->exit_status());
      continue;
    }
    ptrace::set_registers(entry.thread->tid(), entry.registers);
    ptrace::set_signal_mask(entry.thread->tid(), entry.image->signal_mask());
  }
}

std::vector<RememberedWait> ThreadRestart::waits() const {
  std::vector<RememberedWait> waits;
  for (const Entry& entry : entries_) {
    if (entry.wait_ends == 0 || entry.image->timed_wait().remaining_nanoseconds() == 0) continue;
    const pid_t tid = entry.thread->tid();
    waits.push_back({tid, entry.image->timed_wait().call(), entry.wait_ends, sleeps_of(tid)});
  }
  return waits;
}

namespace {

void reap(pid_t tid) noexcept {
  int status = 0;
  while (::waitpid(tid, &status, __WALL) < 0 && errno == EINTR) {
  }
}

}  // namespace

void ThreadRestart::detach(bool is_child) noexcept {
  // The first thread to run may end the whole process before the others are detached. Those that die while traced
  // remain until their tracer has waited for them, and the process with them.
  std::vector<pid_t> dead;
  for (const Entry& entry : entries_) {
    if (!ptrace::detach(entry.thread->tid())) dead.push_back(entry.thread->tid());
  }
  const pid_t leader = entries_.front().thread->tid();
  for (const pid_t tid : dead) {
    if (tid != leader) reap(tid);
  }
  if (!dead.empty() && dead.front() == leader && !is_child) reap(leader);
}

}  // namespace crs::engine
