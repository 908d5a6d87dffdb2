// What the end of a process does to semaphores (SEM_UNDO), and who used them last.
//
// No interface shows the adjustments. But semop(2) checks them: an operation that would bring one beyond its range
// fails with ERANGE. All operations of a call are done or none (and nobody sees those in between); so a call whose last
// operation cannot be done changes nothing, and tells by its error, ERANGE or EAGAIN, on which side of a bound the
// adjustment lies.
#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sys/sem.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/error.h"
#include "engine/procfs/shared_tables.h"
#include "engine/resources/system_v/objects.h"
#include "engine/resources/system_v/system_v.h"

namespace crs::engine {
namespace {

constexpr int kHighest = 32767;  // SEMVMX: of a value and of an adjustment, which goes from one below its negative

class Operations {
 public:
  Operations(RemoteCaller& remote, const image::SemaphoreSet& set) : remote_(remote), set_(set) {}

  // An operation of 0 would wait for the value 0.
  void add(int semaphore, int amount, int flags = 0) {
    if (amount == 0) return;
    operations_.push_back(
        {static_cast<unsigned short>(semaphore), static_cast<short>(amount), static_cast<short>(flags | IPC_NOWAIT)});
  }
  void wait_for_zero(int semaphore) { operations_.push_back({static_cast<unsigned short>(semaphore), 0, IPC_NOWAIT}); }
  void empty(int semaphore) { add(semaphore, -value(semaphore)); }
  void refill(int semaphore) { add(semaphore, value(semaphore)); }

  // Adds `amount`, from 0 to 32768, to the adjustment or takes it away; the value, which is 0 or the highest, remains.
  void raise(int semaphore, int amount) {
    add(semaphore, amount);
    add(semaphore, -amount, SEM_UNDO);
  }
  void lower(int semaphore, int amount) {
    for (const int part : {std::min(amount, kHighest), amount - std::min(amount, kHighest)}) {
      add(semaphore, -part);
      add(semaphore, part, SEM_UNDO);
    }
  }

  // The errno, or 0.
  int run() const {
    remote_.memory().write(remote_.scratch(), std::as_bytes(std::span(operations_)));
    const std::int64_t result = remote_.raw_call(SYS_semop, {static_cast<std::uint64_t>(set_.object().id()),
                                                             remote_.scratch().value, operations_.size(), 0, 0, 0});
    return result < 0 ? static_cast<int>(-result) : 0;
  }

 private:
  int value(int semaphore) const { return static_cast<int>(set_.semaphores(semaphore).value()); }

  RemoteCaller& remote_;
  const image::SemaphoreSet& set_;
  std::vector<sembuf> operations_;
};

// How many semaphores are asked for at once: their operations fit into the remote caller's scratch memory, and SEMOPM
// allows more.
constexpr int kAtOnce = 20;

class AdjustmentSearch {
 public:
  AdjustmentSearch(RemoteCaller& remote, const image::SemaphoreSet& set) : remote_(remote), set_(set) {}

  // Whether one of the semaphores has an adjustment that is above 0; or below 0.
  bool any_above(int first, int end) { return exceeds(first, end, kHighest, true); }
  bool any_below(int first, int end) { return exceeds(first, end, kHighest + 1, false); }

  int amount(int semaphore) {
    // The least that exceeds the range: adjustment + amount > highest, or adjustment - amount < -highest - 1.
    if (any_above(semaphore, semaphore + 1)) return kHighest + 1 - least(semaphore, kHighest, true);
    if (any_below(semaphore, semaphore + 1)) return least(semaphore, kHighest + 1, false) - kHighest - 2;
    return 0;
  }

 private:
  int least(int semaphore, int exceeding, bool up) {
    int within = 0;
    while (exceeding - within > 1) {
      const int middle = within + (exceeding - within) / 2;
      (exceeds(semaphore, semaphore + 1, middle, up) ? exceeding : within) = middle;
    }
    return exceeding;
  }

  bool exceeds(int first, int end, int amount, bool up) {
    Operations operations(remote_, set_);
    for (int semaphore = first; semaphore < end; ++semaphore) {
      operations.empty(semaphore);
      if (up) {
        operations.raise(semaphore, amount);
      } else {
        operations.add(semaphore, kHighest);
        operations.lower(semaphore, amount);
      }
    }
    // What cannot be done now: taking from 0, waiting for 0.
    up ? operations.add(first, -1) : operations.wait_for_zero(first);
    const int problem = operations.run();
    if (problem == ERANGE) return true;
    // Who may not change the semaphores has not done so.
    if (problem == EAGAIN || problem == EACCES) return false;
    fail_errno(problem, "cannot look for adjustments (SEM_UNDO) of {}", name_of_object(kSemaphoresName, set_.object()));
  }

  RemoteCaller& remote_;
  const image::SemaphoreSet& set_;
};

void capture_adjustments_of(RemoteCaller& remote, const image::SemaphoreSet& set, image::Process& process) {
  AdjustmentSearch search(remote, set);
  for (int first = 0; first < set.semaphores_size(); first += kAtOnce) {
    const int end = std::min(first + kAtOnce, set.semaphores_size());
    if (!search.any_above(first, end) && !search.any_below(first, end)) continue;
    for (int semaphore = first; semaphore < end; ++semaphore) {
      const int amount = search.amount(semaphore);
      if (amount == 0) continue;
      image::SemaphoreAdjustment& adjustment = *process.add_adjustments();
      adjustment.set_set(set.object().id());
      adjustment.set_semaphore(static_cast<std::uint32_t>(semaphore));
      adjustment.set_amount(amount);
    }
  }
}

}  // namespace

void refuse_shared_adjustments(CaptureContext& root, std::span<const CapturedProcess> tree) {
  std::vector<pid_t> pids;
  for (const CapturedProcess& process : tree) pids.push_back(process.pidfd < 0 ? 0 : process.pid);  // 0: a zombie
  const std::vector<std::size_t> first = first_with_same_table(pids, KCMP_SYSVSEM);
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (first[i] == i) continue;
    root.refusals.add(fmt::format("process {} has one list of semaphore adjustments (SEM_UNDO) with process {} "
                                  "(CLONE_SYSVSEM)",
                                  tree[i].own_pid, tree[first[i]].own_pid),
                      "let them be made without CLONE_SYSVSEM");
  }
}

bool has_adjustable(const image::SystemV& image) {
  return std::ranges::any_of(image.semaphores(),
                             [](const image::SemaphoreSet& set) { return !set.object().awaited(); });
}

void capture_adjustments(CaptureContext& context, const image::SystemV& system_v, image::Process& process) {
  for (const image::SemaphoreSet& set : system_v.semaphores()) {
    if (!set.object().awaited()) capture_adjustments_of(context.remote, set, process);
  }
}

void restore_adjustments(RestoreContext& context, const image::SystemV& system_v, const image::Process& process) {
  for (const image::SemaphoreAdjustment& adjustment : process.adjustments()) {
    const auto set = std::ranges::find(system_v.semaphores(), adjustment.set(),
                                       [](const image::SemaphoreSet& one) { return one.object().id(); });
    const auto semaphore = static_cast<int>(adjustment.semaphore());
    Operations operations(context.remote, *set);
    operations.empty(semaphore);
    if (adjustment.amount() > 0) {
      operations.raise(semaphore, adjustment.amount());
    } else {
      operations.add(semaphore, kHighest);
      operations.lower(semaphore, -adjustment.amount());
      operations.add(semaphore, -kHighest);
    }
    operations.refill(semaphore);
    if (const int problem = operations.run())
      fail_errno(problem, "{}: semop with SEM_UNDO", name_of_object(kSemaphoresName, set->object()));
  }
}

void restore_last_users(RestoreContext& context, const image::SystemV& system_v, const image::Process& process) {
  for (const image::SemaphoreSet& set : system_v.semaphores()) {
    for (int semaphore = 0; semaphore < set.semaphores_size(); ++semaphore) {
      if (set.semaphores(semaphore).last_process() != process.pid()) continue;
      Operations operations(context.remote, set);
      const int step = set.semaphores(semaphore).value() > 0 ? -1 : 1;
      operations.add(semaphore, step);
      operations.add(semaphore, -step);
      if (const int problem = operations.run())
        fail_errno(problem, "{}: semop", name_of_object(kSemaphoresName, set.object()));
    }
  }
}

}  // namespace crs::engine
