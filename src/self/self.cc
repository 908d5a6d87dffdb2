// The program's side of component self: what it registered, and what a restart brings back.
#include "crs/self.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/thrown.h"
#include "crs/self.h"
#include "self/memory_file.h"
#include "self/offer.h"
#include "self/program_record.h"
#include "self/restart_channel.h"
#include "self/words.h"

namespace crs::self {
namespace {

std::string take_variable(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): see Registry
  std::string text = value == nullptr ? "" : value;
  ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe)
  return text;
}

// -1 for what is no number of a socket. The program's children do not inherit it.
int channel_in(const std::string& text) {
  int number = -1;
  const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  struct stat status{};
  if (problem != std::errc{} || stop != text.data() + text.size() || number <= STDERR_FILENO) return -1;
  if (::fstat(number, &status) != 0 || !S_ISSOCK(status.st_mode)) return -1;
  ::fcntl(number, F_SETFD, FD_CLOEXEC);
  return number;
}

// What the program registered. There is one, as there is one program.
class Registry {
 public:
  static Registry& instance() {
    // Never destroyed: a thread may take a checkpoint while the program ends.
    static auto* const registry = new Registry;
    return *registry;
  }

  bool protect(std::uint64_t id, void* memory, std::size_t bytes);
  void unprotect(std::uint64_t id);
  void set_command(RestartCommand command);
  void set_callbacks(Callbacks callbacks);
  std::vector<OfferedArea> areas() const;
  bool has_callbacks() const;
  void run_checkpoint(RestartCommand& command) const;
  void run_go_on() const;
  bool is_restarted() const noexcept { return !location_.empty(); }
  bool take_restart();
  const std::string& reference() const noexcept { return reference_; }
  int take_channel() noexcept { return channel_.exchange(-1); }

 private:
  // A program uses libcrs before it has threads that change its environment, or not much later.
  Registry()
      : location_(take_variable(kLocationVariable)),
        reference_(take_variable(kReferenceVariable)),
        channel_(channel_in(take_variable(kChannelVariable))) {
    // A forked process has no thread that would let the lock go.
    ::pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                     [] { instance().mutex_.unlock(); });
  }

  bool bring_back(std::uint64_t id, void* memory, std::size_t bytes);
  Callbacks callbacks() const {
    const std::lock_guard lock(mutex_);
    return callbacks_;
  }

  mutable std::mutex mutex_;
  std::string location_;   // of the snapshot that this program was restarted from, or empty
  std::string reference_;  // the same as JOB@SEQ
  std::atomic<int> channel_;
  bool restart_taken_ = false;
  std::map<std::uint64_t, OfferedArea> areas_;
  // In a restarted program: the numbers whose content is the program's own by now. One whose area moves, or grows, does
  // not go back to what the snapshot holds.
  std::set<std::uint64_t> settled_;
  RestartCommand command_;
  Callbacks callbacks_;
};

bool Registry::bring_back(std::uint64_t id, void* memory, std::size_t bytes) {
  if (!is_restarted() || settled_.contains(id)) return false;
  return in_context(fmt::format("restarting from {}", reference_), [&] {
    const std::string path = location_ + "/" + kMemoryFile;
    // A program that saves itself by callbacks alone has none.
    if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) return false;
    // Opened each time: a descriptor that stays open is one that the program does not expect.
    const MemoryFile saved(path);
    if (!saved.bytes_of(id)) return false;
    saved.read(id, memory, bytes);
    return true;
  });
}

bool Registry::protect(std::uint64_t id, void* memory, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (memory == nullptr && bytes > 0) fail(ErrorKind::Failed, "protected memory {} is a null pointer", id);
  if (areas_.contains(id)) {
    throw Error(ErrorKind::Failed, fmt::format("memory is protected under the number {} already", id))
        .advise("Unprotect it first");
  }
  const bool filled = bring_back(id, memory, bytes);
  areas_.emplace(id, OfferedArea{id, memory, bytes});
  if (is_restarted()) settled_.insert(id);
  return filled;
}

void Registry::unprotect(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (areas_.erase(id) == 0) fail(ErrorKind::Failed, "no memory is protected under the number {}", id);
}

void Registry::set_command(RestartCommand command) {
  const std::lock_guard lock(mutex_);
  command_ = std::move(command);
}

void Registry::set_callbacks(Callbacks callbacks) {
  const auto restart = callbacks.restart;
  {
    const std::lock_guard lock(mutex_);
    callbacks_ = std::move(callbacks);
  }
  if (restart && take_restart()) restart();
}

bool Registry::take_restart() {
  const std::lock_guard lock(mutex_);
  return is_restarted() && !std::exchange(restart_taken_, true);
}

std::vector<OfferedArea> Registry::areas() const {
  const std::lock_guard lock(mutex_);
  std::vector<OfferedArea> list;
  for (const auto& [id, area] : areas_) list.push_back(area);
  return list;
}

bool Registry::has_callbacks() const {
  const Callbacks registered = callbacks();
  return registered.checkpoint || registered.go_on || registered.restart;
}

// Without the lock: a callback may protect memory.
void Registry::run_checkpoint(RestartCommand& command) const {
  {
    const std::lock_guard lock(mutex_);
    command = command_;
  }
  if (const Callbacks registered = callbacks(); registered.checkpoint) registered.checkpoint(command);
}

void Registry::run_go_on() const {
  if (const Callbacks registered = callbacks(); registered.go_on) registered.go_on();
}

// Runs what a component asked for; nothing thrown leaves. A callback may end its thread.
template <typename Action>
int answer(OfferedCall* call, Action&& action) {
  try {
    action();
    return 0;
  } catch (...) {
    if (is_thread_ending()) throw;
    call->fail(call, words_of_current_exception().c_str());
  }
  return 1;
}

int offered_checkpoint(OfferedCall* call) {
  return answer(call, [&] {
    RestartCommand command;
    Registry::instance().run_checkpoint(command);
    std::vector<const char*> arguments;
    for (const std::string& argument : command.arguments) arguments.push_back(argument.c_str());
    arguments.push_back(nullptr);
    const bool own = command.arguments.empty();
    const bool here = command.working_directory.empty();
    call->set_command(call, own ? nullptr : arguments.data(), here ? nullptr : command.working_directory.c_str());
  });
}

int offered_go_on(OfferedCall* call) {
  return answer(call, [] { Registry::instance().run_go_on(); });
}

void offered_areas(void (*visit)(void*, const OfferedArea*), void* context) {
  for (const OfferedArea& area : Registry::instance().areas()) visit(context, &area);
}

}  // namespace

bool protect(std::uint64_t id, void* memory, std::size_t bytes) {
  return Registry::instance().protect(id, memory, bytes);
}
void unprotect(std::uint64_t id) { Registry::instance().unprotect(id); }
void set_restart_command(RestartCommand command) { Registry::instance().set_command(std::move(command)); }
void set_callbacks(Callbacks callbacks) { Registry::instance().set_callbacks(std::move(callbacks)); }
std::optional<std::string> restarted_from() {
  const Registry& registry = Registry::instance();
  return registry.is_restarted() ? std::optional(registry.reference()) : std::nullopt;
}

int take_restart_channel() noexcept { return Registry::instance().take_channel(); }

const Offer* offer() {
  static const Offer table = {
      sizeof(Offer),
      offered_areas,
      [] { return Registry::instance().has_callbacks() ? 1 : 0; },
      offered_checkpoint,
      offered_go_on,
      [] { return Registry::instance().is_restarted() ? 1 : 0; },
      [] { return Registry::instance().take_restart() ? 1 : 0; },
  };
  static_cast<void>(Registry::instance());  // the environment is read now, while nobody changes it
  return &table;
}

// --- For C ---

namespace {

thread_local std::string last_problem;  // crs_self_problem()

template <typename Action>
int for_c(Action&& action) {
  try {
    return action();
  } catch (...) {
    if (is_thread_ending()) throw;
    last_problem = words_of_current_exception();
  }
  return -1;
}

void check_status(int status, const char* callback) {
  if (status != 0) fail(ErrorKind::Failed, "the program's {} callback returned {}", callback, status);
}

}  // namespace
}  // namespace crs::self

using namespace crs;  // NOLINT(google-build-using-namespace)

int crs_self_protect(uint64_t id, void* memory, size_t bytes) {
  return self::for_c([&] { return self::protect(id, memory, bytes) ? 1 : 0; });
}

int crs_self_unprotect(uint64_t id) {
  return self::for_c([&] {
    self::unprotect(id);
    return 0;
  });
}

int crs_self_set_callbacks(crs_self_checkpoint_callback* checkpoint, crs_self_callback* go_on,
                           crs_self_callback* restart, void* data) {
  return self::for_c([&] {
    self::Callbacks callbacks;
    if (checkpoint != nullptr) {
      callbacks.checkpoint = [=](self::RestartCommand& command) {
        char* line = nullptr;
        const int status = checkpoint(data, &line);
        const std::unique_ptr<char, void (*)(void*)> owner(line, std::free);
        self::check_status(status, "checkpoint");
        if (line == nullptr || *line == '\0') return;
        try {
          command.arguments = self::split_words(line);
        } catch (...) {  // prepared, the program must hear that it goes on
          if (go_on != nullptr) static_cast<void>(go_on(data));
          throw;
        }
      };
    }
    if (go_on != nullptr) callbacks.go_on = [=] { self::check_status(go_on(data), "continue"); };
    if (restart != nullptr) callbacks.restart = [=] { self::check_status(restart(data), "restart"); };
    self::set_callbacks(std::move(callbacks));
    return 0;
  });
}

int crs_self_set_restart_command(const char* const* arguments, const char* working_directory) {
  return self::for_c([&] {
    self::RestartCommand command;
    for (const char* const* argument = arguments; argument != nullptr && *argument != nullptr; ++argument) {
      command.arguments.emplace_back(*argument);
    }
    if (arguments != nullptr && command.arguments.empty()) fail(ErrorKind::Failed, "the restart command is empty");
    if (arguments != nullptr && command.arguments.front().empty())
      fail(ErrorKind::Failed, "the restart command names no program");
    if (working_directory != nullptr) command.working_directory = working_directory;
    self::set_restart_command(std::move(command));
    return 0;
  });
}

const char* crs_self_restarted_from(void) {
  // Lives as long as the registry.
  const auto& registry = self::Registry::instance();
  return registry.is_restarted() ? registry.reference().c_str() : nullptr;
}

const char* crs_self_problem(void) { return self::last_problem.c_str(); }
