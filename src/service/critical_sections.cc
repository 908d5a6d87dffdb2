#include "crs/critical_sections.hpp"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/cancellation.h"
#include "base/error.h"
#include "base/longest_limit.h"
#include "service/after_fork.h"
#include "service/limited_wait.h"

namespace crs {

using Clock = std::chrono::steady_clock;

struct CriticalSections::Shared {
  struct Thread {
    std::string name;
    int depth = 0;
  };

  explicit Shared(SectionHooks given) : hooks(std::move(given)) {}

  const SectionHooks hooks;
  const std::uint64_t generation = fork_generation();
  std::mutex ending;  // held by a thread that ends while it calls a hook
  bool over = false;  // guarded by `ending`: what the hooks work on may be gone
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::map<std::thread::id, Thread> threads;
  std::optional<std::thread::id> closer;  // whose checkpoint is waiting or under way
  std::chrono::nanoseconds enter_limit = std::chrono::nanoseconds::max();

  bool closed_to(std::thread::id thread) const { return closer && *closer != thread; }
  const Thread* in_the_way() const {
    for (const auto& [id, thread] : threads) {
      if (thread.depth > 0) return &thread;
    }
    return nullptr;
  }
};

namespace {

using Shared = CriticalSections::Shared;

// Forgets a thread in every service that it was registered with when it ends.
class Registrations {
 public:
  Registrations() = default;
  Registrations(const Registrations&) = delete;
  Registrations& operator=(const Registrations&) = delete;
  ~Registrations() { end(); }
  void add(const std::shared_ptr<Shared>& state) {
    states_.erase(std::remove_if(states_.begin(), states_.end(), [](const auto& weak) { return weak.expired(); }),
                  states_.end());
    states_.push_back(state);
    if (end_key()) ::pthread_setspecific(*end_key(), this);
  }

 private:
  // The C++ runtime does not hear of a main thread that ends alone (pthread_exit(3)). Empty: the system has no key
  // left.
  static const std::optional<pthread_key_t>& end_key() {
    static const std::optional<pthread_key_t> key = [] {
      pthread_key_t made{};
      const auto end = [](void* thread) { static_cast<Registrations*>(thread)->end(); };
      return ::pthread_key_create(&made, end) == 0 ? std::optional(made) : std::nullopt;
    }();
    return key;
  }

  void end() {
    const CancellationDeferred deferred;
    if (end_key()) ::pthread_setspecific(*end_key(), nullptr);
    for (const auto& weak : std::exchange(states_, {})) {
      const auto state = weak.lock();
      // Another thread may have held a lock when this process was forked off, and is not here to let it go.
      if (state && state->generation == fork_generation()) forget(*state);
    }
  }

  // A checkpoint that waits for the thread goes on only when the hooks have heard of it.
  static void forget(Shared& state) {
    tell_of_open_sections(state);
    const std::lock_guard lock(state.mutex);
    state.threads.erase(std::this_thread::get_id());
    state.changed.notify_all();
  }

  static void tell_of_open_sections(Shared& state) {
    if (!state.hooks.leaving) return;
    const std::lock_guard ending(state.ending);
    if (state.over) return;
    for (int left = depth_in(state); left > 0; --left) {
      try {
        state.hooks.leaving();
      } catch (...) {  // the thread ends all the same, and nobody is there to be told
      }
    }
  }

  static int depth_in(const Shared& state) {
    const std::lock_guard lock(state.mutex);
    const auto found = state.threads.find(std::this_thread::get_id());
    return found == state.threads.end() ? 0 : found->second.depth;
  }

  std::vector<std::weak_ptr<Shared>> states_;
};

// The one thing here that belongs to a thread and not to an object: C++ tells of a thread's end in no other way.
thread_local Registrations registrations;

Shared::Thread& thread_entry(const std::shared_ptr<Shared>& state) {
  const auto [entry, is_new] = state->threads.try_emplace(std::this_thread::get_id());
  if (is_new) {
    entry->second.name = fmt::format("thread {}", ::gettid());
    registrations.add(state);
  }
  return entry->second;
}

// Waits until the calling thread may enter its first section.
void wait_until_open(Shared& state, std::unique_lock<std::mutex>& lock) {
  const auto limit = state.enter_limit;
  if (wait_limited(state.changed, lock, limit, [&] { return !state.closed_to(std::this_thread::get_id()); })) return;
  throw Error(
      ErrorKind::Failed,
      fmt::format("{} cannot enter a critical section: a checkpoint is under way, and is not over after {} s",
                  state.threads.at(std::this_thread::get_id()).name, std::chrono::duration<double>(limit).count()))
      .advise("See which layer does not return; the parameter crs_wait_limit sets the time limit");
}

// Waits until no thread is in a section; `state` is closed to new ones.
void wait_until_left(Shared& state, std::chrono::nanoseconds limit, const std::function<void(const Delay&)>& delayed,
                     const std::function<bool()>& given_up) {
  constexpr std::chrono::milliseconds kFirstRepetition{100};
  const auto begin = Clock::now();
  const auto end = begin + bounded(limit);
  auto next_report = begin;
  auto repetition = kFirstRepetition;
  std::unique_lock lock(state.mutex);
  while (const Shared::Thread* thread = state.in_the_way()) {
    const auto now = Clock::now();
    const Delay delay{thread->name, now - begin};
    if (now >= end) throw Error(ErrorKind::Failed, delay.text()).advise("Try again later or with a longer time limit");
    if (given_up && given_up()) fail(ErrorKind::Failed, "whoever asked for the checkpoint has gone");
    if (now < next_report) {
      const CancellationAllowed allowed;
      state.changed.wait_until(lock, std::min(next_report, end));
      continue;
    }
    next_report = now + repetition;
    repetition *= 2;
    lock.unlock();
    if (delayed) delayed(delay);
    lock.lock();
  }
}

}  // namespace

std::string Delay::text() const {
  return fmt::format("delayed {:.1f} s by {} in a critical section", std::chrono::duration<double>(lasted).count(),
                     thread);
}

CriticalSections::CriticalSections(SectionHooks hooks) : state_(std::make_shared<Shared>(std::move(hooks))) {}

CriticalSections::~CriticalSections() {
  if (state_->generation != fork_generation()) return;  // no thread is here that could end, or let the lock go
  const std::lock_guard lock(state_->ending);
  state_->over = true;
}

void CriticalSections::register_thread(const std::string& name) {
  const std::lock_guard lock(state_->mutex);
  thread_entry(state_).name = fmt::format("thread '{}'", name);
}

void CriticalSections::enter() {
  std::unique_lock lock(state_->mutex);
  // A nested section must not wait for a checkpoint that waits for the outer one.
  if (thread_entry(state_).depth == 0) wait_until_open(*state_, lock);
  ++thread_entry(state_).depth;
  lock.unlock();
  if (!state_->hooks.entered) return;
  try {
    state_->hooks.entered();
  } catch (...) {
    leave_untold();
    throw;
  }
}

void CriticalSections::leave() {
  const CancellationDeferred deferred;  // a scope's destructor, which nothing may leave, calls this
  if (depth() == 0) {
    const std::lock_guard lock(state_->mutex);
    fail(ErrorKind::Failed, "{} leaves a critical section without being in one", thread_entry(state_).name);
  }
  try {
    if (state_->hooks.leaving) state_->hooks.leaving();
  } catch (...) {
    leave_untold();
    throw;
  }
  leave_untold();
}

void CriticalSections::leave_untold() {
  const std::lock_guard lock(state_->mutex);
  if (--thread_entry(state_).depth == 0) state_->changed.notify_all();
}

int CriticalSections::depth() const {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->threads.find(std::this_thread::get_id());
  return found == state_->threads.end() ? 0 : found->second.depth;
}

void CriticalSections::limit_waits(std::chrono::nanoseconds limit) {
  const std::lock_guard lock(state_->mutex);
  state_->enter_limit = limit;
}

void CriticalSections::look_again() {
  const std::lock_guard lock(state_->mutex);
  state_->changed.notify_all();
}

void CriticalSections::open() {
  const std::lock_guard lock(state_->mutex);
  state_->closer.reset();
  state_->changed.notify_all();
}

CriticalSections::Closed::Closed(CriticalSections& sections, std::chrono::nanoseconds limit,
                                 const std::function<void(const Delay&)>& delayed,
                                 const std::function<bool()>& given_up)
    : sections_(sections) {
  Shared& state = *sections_.state_;
  {
    const std::lock_guard lock(state.mutex);
    if (state.closer)
      fail(ErrorKind::Failed, "a checkpoint, or a restart in place, of this program is under way already");
    if (thread_entry(sections_.state_).depth > 0) {
      fail(ErrorKind::Failed, "the thread that asks for a checkpoint is in a critical section itself");
    }
    state.closer = std::this_thread::get_id();
  }
  try {
    wait_until_left(state, limit, delayed, given_up);
  } catch (...) {
    sections_.open();
    throw;
  }
}

CriticalSections::Closed::~Closed() { sections_.open(); }

}  // namespace crs
