// The component `self`: the program saves itself, by callbacks or by naming the memory that matters (crs/self.h).
//
// A shared object with the C interface, so that it works in whatever holds libcrs: it shares no C++ with its host. In a
// program it reaches what the program registered through libcrs's offer; in the command crs it only restarts.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/thrown.h"
#include "crs/component.h"
#include "self/memory_file.h"
#include "self/offer.h"
#include "self/program_record.h"
#include "self/words.h"

namespace crs::self {
namespace {

using Host = crs_component_host;

// A program that says how to save it wants that; one that is restarted by self must go on with it.
constexpr int kPriorityWhenRestarted = 1000;
constexpr int kPriorityInPrograms = 60;
constexpr int kPriorityOtherwise = 0;

// Runs an operation; what it throws is told to the host. A function of the program's may end its thread, which nothing
// here may stop: hence no noexcept.
template <typename Action>
int operation(const Host* host, Action&& action) {
  try {
    action();
    return CRS_COMPONENT_OK;
  } catch (const Error& error) {
    std::string text = error.chain().front();
    for (std::size_t i = 1; i < error.chain().size(); ++i) text += "; " + error.chain()[i];
    const int status = error.kind() == ErrorKind::Damaged ? CRS_COMPONENT_DAMAGED : CRS_COMPONENT_FAILED;
    return host->fail(host, status, text.c_str(), error.advice().empty() ? nullptr : error.advice().c_str());
  } catch (...) {
    if (is_thread_ending()) throw;
    return host->fail(host, CRS_COMPONENT_FAILED, words_of_current_exception().c_str(), nullptr);
  }
}

const Offer* offer_of(const Host* host) {
  const auto* const offered = static_cast<const Offer*>(host->program(host, "self"));
  return offered != nullptr && offered->size >= sizeof(Offer) ? offered : nullptr;
}

// What the program does when it is saved, whether it registered that or has functions with the names for it.
class Program {
 public:
  explicit Program(const Host* host) : offer_(offer_of(host)) {
    const char* const given = host->parameter(host, "prefix");
    prefix_ = given == nullptr ? "" : given;
    while (prefix_.ends_with('_')) prefix_.pop_back();
    if (offer_ == nullptr || prefix_.empty()) return;
    checkpoint_ = reinterpret_cast<int (*)(char**)>(find("checkpoint"));
    go_on_ = reinterpret_cast<int (*)()>(find("continue"));
    restart_ = reinterpret_cast<int (*)()>(find("restart"));
  }

  const Offer* offer() const noexcept { return offer_; }
  const std::string& prefix() const noexcept { return prefix_; }
  bool has_functions() const noexcept { return checkpoint_ != nullptr || go_on_ != nullptr || restart_ != nullptr; }
  bool has_callbacks() const { return offer_->has_callbacks() != 0; }
  bool has_restart_function() const { return restart_ != nullptr && !has_callbacks(); }

  std::vector<Area> areas() const {
    std::vector<Area> list;
    offer_->areas(
        [](void* context, const OfferedArea* area) {
          static_cast<std::vector<Area>*>(context)->push_back({area->id, area->memory, area->bytes});
        },
        &list);
    return list;
  }

  // Has the program prepare itself; changes what a restart runs.
  void prepare(ProgramRecord& record) const {
    Answer answer(record);
    if (offer_->checkpoint(&answer.call) != 0) answer.fail("checkpoint");
    if (has_callbacks() || checkpoint_ == nullptr) return;
    char* line = nullptr;
    const int status = checkpoint_(&line);
    const std::unique_ptr<char, void (*)(void*)> owner(line, std::free);
    check(status, "checkpoint");
    if (line == nullptr || *line == '\0') return;
    try {
      set_arguments(record, split_words(line));
    } catch (...) {  // prepared, it must hear that it goes on
      if (go_on_ != nullptr) static_cast<void>(go_on_());
      throw;
    }
  }

  void go_on() const {
    ProgramRecord unused;
    Answer answer(unused);
    if (offer_->go_on(&answer.call) != 0) answer.fail("continue");
    if (!has_callbacks() && go_on_ != nullptr) check(go_on_(), "continue");
  }

  // In a restarted program, once. Registered restart callbacks are called when they are registered.
  void restart() const {
    if (restart_ == nullptr || has_callbacks() || offer_->take_restart() == 0) return;
    check(restart_(), "restart");
  }

 private:
  // What a registered callback answers with.
  struct Answer {
    OfferedCall call;
    ProgramRecord& record;
    std::string problem;

    explicit Answer(ProgramRecord& to_change) : record(to_change) {
      call.context = this;
      call.fail = [](OfferedCall* from, const char* text) { static_cast<Answer*>(from->context)->problem = text; };
      call.set_command = [](OfferedCall* from, const char* const* arguments, const char* directory) {
        static_cast<Answer*>(from->context)->set_command(arguments, directory);
      };
    }
    Answer(const Answer&) = delete;
    Answer& operator=(const Answer&) = delete;

    void set_command(const char* const* arguments, const char* directory) const {
      std::vector<std::string> list;
      for (; arguments != nullptr && *arguments != nullptr; ++arguments) list.emplace_back(*arguments);
      if (!list.empty()) set_arguments(record, std::move(list));
      if (directory == nullptr) return;
      record.working_directory = *directory == '/' ? directory : record.working_directory + "/" + directory;
    }
    [[noreturn]] void fail(const char* callback) const {
      throw Error(ErrorKind::Failed, problem).add_context(fmt::format("the program's {} callback", callback));
    }
  };

  static void set_arguments(ProgramRecord& record, std::vector<std::string> arguments) {
    if (arguments.front().empty()) fail(ErrorKind::Failed, "the restart command names no program");
    record.executable = arguments.front();
    record.arguments = std::move(arguments);
  }

  void check(int status, const char* name) const {
    if (status != 0) fail(ErrorKind::Failed, "{}_{}() of the program returned {}", prefix_, name, status);
  }

  void* find(const char* name) const { return ::dlsym(RTLD_DEFAULT, (prefix_ + "_" + name).c_str()); }

  const Offer* offer_;
  std::string prefix_;
  int (*checkpoint_)(char**) = nullptr;
  int (*go_on_)() = nullptr;
  int (*restart_)() = nullptr;
};

// --- Operations ---

int query(const Host* host, crs_component_answer* answer) {
  return operation(host, [&] {
    const Program program(host);
    answer->usable = 1;
    answer->priority = kPriorityOtherwise;
    if (program.offer() == nullptr) {
      answer->reason = "takes checkpoints in programs that are linked with libcrs, not from outside";
    } else if (program.offer()->is_restarted() != 0) {
      answer->priority = kPriorityWhenRestarted;
    } else if (program.has_functions() || program.has_callbacks() || !program.areas().empty()) {
      answer->priority = kPriorityInPrograms;
    } else {
      answer->reason = "the program has registered nothing so far";
    }
  });
}

int init(const Host* host, void** state) {
  static_cast<void>(state);
  return operation(host, [&] {
    const Program program(host);
    if (program.offer() != nullptr && program.offer()->is_restarted() != 0) program.restart();
  });
}

void require_something_to_save(const Program& program, const std::vector<Area>& areas) {
  if (program.has_functions() || program.has_callbacks() || !areas.empty()) return;
  throw Error(ErrorKind::Failed,
              fmt::format("the program has registered no memory and no callbacks, and exports no {}_checkpoint()",
                          program.prefix()))
      .advise("See crs/self.h; functions are found by their names only if the program is linked with -rdynamic");
}

bool is_this_program(const std::string& executable) {
  struct stat own{};
  struct stat other{};
  return ::stat("/proc/self/exe", &own) == 0 && ::stat(executable.c_str(), &other) == 0 && own.st_dev == other.st_dev &&
         own.st_ino == other.st_ino;
}

std::uint64_t save(const Program& program, const std::string& location, const ProgramRecord& record) {
  write_program_record(location + "/" + kProgramFile, record);
  const std::vector<Area> areas = program.areas();
  return areas.empty() ? 0 : write_memory_file(location + "/" + kMemoryFile, areas);
}

// Where something else is wrong already: what is wrong with going on is returned, not thrown.
std::string problem_of_going_on(const Program& program) {
  try {
    program.go_on();
  } catch (...) {
    if (is_thread_ending()) throw;
    return words_of_current_exception();
  }
  return "";
}

[[noreturn]] void fail_prepared(const Program& program, const std::exception_ptr& failure) {
  const std::string later = problem_of_going_on(program);
  try {
    std::rethrow_exception(failure);
  } catch (Error& error) {
    if (!later.empty()) error.add_context(fmt::format("then {}", later));
    throw;
  }
}

// The program, once prepared, must hear that it goes on, whatever becomes of the snapshot.
std::uint64_t save_prepared(const Program& program, const std::string& location, const ProgramRecord& record,
                            const ProgramRecord& own, bool goes_on) {
  std::uint64_t bytes = 0;
  std::exception_ptr failure;
  try {
    check_can_start(record, own);
    bytes = save(program, location, record);
  } catch (...) {
    failure = std::current_exception();
    if (is_thread_ending()) {
      static_cast<void>(problem_of_going_on(program));  // nobody stays to be told
      throw;
    }
  }
  // Outside of the handler: a callback that ends its thread could not be unwound through it.
  if (failure != nullptr) fail_prepared(program, failure);
  // Before the snapshot can be seen: if this fails there is none.
  if (goes_on) program.go_on();
  return bytes;
}

// How long what follows on one another takes.
class Passes {
 public:
  void end(const char* name, std::uint64_t bytes = 0) {
    const auto now = Clock::now();
    const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(now - begin_);
    begin_ = now;
    list_.push_back({name, static_cast<std::uint64_t>(spent.count()), bytes});
  }
  const std::vector<crs_component_pass>& list() const noexcept { return list_; }
  std::uint64_t nanoseconds() const noexcept {
    std::uint64_t sum = 0;
    for (const crs_component_pass& pass : list_) sum += pass.nanoseconds;
    return sum;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_ = Clock::now();
  std::vector<crs_component_pass> list_;
};

int checkpoint(const Host* host, void* state, pid_t pid, const crs_component_sink* sink,
               const crs_component_checkpoint_options* options, crs_component_outcome* outcome) {
  static_cast<void>(state);
  static_cast<void>(pid);  // the host asks for no other process than the caller
  int committed = CRS_COMPONENT_OK;
  const int status = operation(host, [&] {
    const Program program(host);
    if (program.offer() == nullptr) fail(ErrorKind::Failed, "component self works in programs linked with libcrs only");
    require_something_to_save(program, program.areas());
    const ProgramRecord own = record_of_this_process();
    ProgramRecord record = own;
    // What the program does for its snapshot it does instead of its work.
    Passes passes;
    program.prepare(record);
    passes.end("program saves itself");
    record.reports = program.has_restart_function() && is_this_program(record.executable);
    const std::uint64_t bytes =
        save_prepared(program, sink->location, record, own, options->after != CRS_COMPONENT_KILL);
    passes.end("save protected memory", bytes);
    crs_component_contents contents{};
    contents.size = sizeof contents;
    contents.memory_bytes = bytes;
    contents.pause_nanoseconds = outcome->pause_nanoseconds = passes.nanoseconds();
    contents.passes = passes.list().data();
    contents.pass_count = passes.list().size();
    committed = sink->commit(sink, &contents);
    outcome->state = options->after == CRS_COMPONENT_KILL ? CRS_COMPONENT_ENDS : CRS_COMPONENT_WENT_ON;
    // Unless there is no snapshot after all.
    if (committed != CRS_COMPONENT_OK && options->after == CRS_COMPONENT_KILL) program.go_on();
    host->say(host, 1, fmt::format("{} bytes of protected memory are saved", bytes).c_str());
  });
  return status != CRS_COMPONENT_OK ? status : committed;
}

// The command of a snapshot, to be started.
class Start {
 public:
  Start(const crs_component_snapshot& snapshot, const crs_component_restart_options& options)
      : record_(read_program_record(std::string(snapshot.location) + "/" + kProgramFile)),
        location_(snapshot.location),
        reference_(snapshot.reference),
        channel_(options.channel),
        // Not where the caller becomes the program: nobody waits there.
        passes_channel_(record_.reports && options.spawn_child != 0 && options.channel > STDERR_FILENO),
        file_mode_mask_(options.file_mode_mask) {
    for (const std::string& argument : record_.arguments) arguments_.push_back(const_cast<char*>(argument.c_str()));
    arguments_.push_back(nullptr);
  }

  // Why it cannot be executed.
  struct Problem {
    int number = 0;
    bool is_of_directory = false;
  };
  [[noreturn]] void fail(const Problem& problem) const {
    if (problem.is_of_directory) {
      throw Error::from_errno(
          fmt::format("the restart command's working directory '{}' cannot be entered", record_.working_directory),
          problem.number)
          .advise("It is that of the program at the checkpoint, or what the program named: make it again");
    }
    fail_errno(problem.number, "the restart command '{}' cannot be executed", record_.executable);
  }

  // Fails as execute() would, as far as that can be told beforehand.
  void check() const {
    const FileDescriptor directory(::open(record_.working_directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory || ::faccessat(directory.get(), ".", X_OK, AT_EACCESS) != 0) fail({errno, true});
    const int problem = try_places([&](const std::string& path) {
      struct stat status{};
      if (::fstatat(directory.get(), path.c_str(), &status, 0) != 0) return errno;
      if (!S_ISREG(status.st_mode)) return EACCES;
      return ::faccessat(directory.get(), path.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
    });
    if (problem != 0) fail({problem, false});
  }

  // Becomes the program; returns only if that fails. Between fork(2) and execve(2) of a process that has no other
  // threads, so that memory may be allocated.
  Problem execute() {
    reset_signals();
    ::umask(file_mode_mask_);
    pass_channel();
    ::setenv(kLocationVariable, location_.c_str(), 1);    // NOLINT(concurrency-mt-unsafe)
    ::setenv(kReferenceVariable, reference_.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
    if (::chdir(record_.working_directory.c_str()) != 0) return {errno, true};
    // As execvp(3), which, however, hands what the kernel cannot execute to a shell.
    const int problem = try_places([&](const std::string& path) {
      ::execve(path.c_str(), arguments_.data(), environ);
      return errno;
    });
    return {problem, false};
  }

 private:
  // crs ignores SIGXFSZ for itself. Signals that a program with handlers was sent while it became this one were meant
  // for what it was.
  static void reset_signals() {
    struct sigaction ordinary{};
    ordinary.sa_handler = SIG_DFL;
    ::sigaction(SIGXFSZ, &ordinary, nullptr);
    struct sigaction ignored{};
    ignored.sa_handler = SIG_IGN;
    for (int number = 1; number <= SIGRTMAX; ++number) {
      struct sigaction before{};
      if (::sigaction(number, &ignored, &before) == 0) ::sigaction(number, &before, nullptr);
    }
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
  }

  // Where execvp(3) looks for the command, in order. `attempt` gives the errno, or 0 where there is nothing more to
  // try.
  template <typename Attempt>
  int try_places(Attempt&& attempt) const {
    const std::string& name = record_.executable;
    if (name.find('/') != std::string::npos) return attempt(name);
    const char* const path = ::getenv("PATH");  // NOLINT(concurrency-mt-unsafe)
    std::string_view rest = path == nullptr ? "/bin:/usr/bin" : path;
    int problem = ENOENT;
    for (;;) {
      const std::string_view directory = rest.substr(0, rest.find(':'));
      const int failure = attempt(directory.empty() ? "./" + name : std::string(directory) + "/" + name);
      // One that may not be executed hides none in a later directory.
      if (failure == EACCES) problem = failure;
      if (failure != EACCES && failure != ENOENT && failure != ENOTDIR) return failure;
      if (directory.size() == rest.size()) return problem;
      rest.remove_prefix(directory.size() + 1);
    }
  }

  // For the news of a restart that goes on where it was; here main() begins anew, and only says whether it can.
  void pass_channel() const {
    ::unsetenv(kChannelVariable);  // NOLINT(concurrency-mt-unsafe)
    if (channel_ < 0) return;
    if (!passes_channel_) {
      ::close(channel_);
      return;
    }
    ::fcntl(channel_, F_SETFD, 0);
    ::setenv(kChannelVariable, std::to_string(channel_).c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  }

  ProgramRecord record_;
  std::string location_;
  std::string reference_;
  int channel_;
  bool passes_channel_;
  mode_t file_mode_mask_;
  std::vector<char*> arguments_;
};

// Waits for the program to be executed; its end of the socket pair is closed by that, or brings the problem.
void spawn(Start& start, const crs_component_restart_options* options, crs_component_restarted* restarted) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail_errno(errno, "making a socket pair");
  FileDescriptor ours(ends[0]);
  FileDescriptor theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) fail_errno(errno, "no new process can be made");
  if (child == 0) {
    ours.reset();
    char go = 0;
    Start::Problem problem{ECANCELED};
    if (::read(theirs.get(), &go, 1) == 1) problem = start.execute();
    static_cast<void>(!::write(theirs.get(), &problem, sizeof problem));
    ::_exit(126);
  }
  theirs.reset();
  options->before_start(options, child);
  Start::Problem problem;
  if (::send(ours.get(), "g", 1, MSG_NOSIGNAL) != 1) problem.number = errno;
  ssize_t got = -1;
  do {
    got = ::read(ours.get(), &problem, sizeof problem);
  } while (got < 0 && errno == EINTR);
  if (problem.number != 0) {
    ::waitpid(child, nullptr, 0);
    start.fail(problem);
  }
  restarted->pid = child;
}

// Damage is told before anything runs.
void check_memory(const crs_component_snapshot& snapshot) {
  const std::string memory = std::string(snapshot.location) + "/" + kMemoryFile;
  if (::access(memory.c_str(), F_OK) == 0) static_cast<void>(MemoryFile(memory));
}

int restart(const Host* host, void* state, crs_component_snapshot* snapshot,
            const crs_component_restart_options* options, crs_component_restarted* restarted) {
  static_cast<void>(state);
  if (snapshot->cold_start != 0 && CRS_COMPONENT_HAS(crs_component_restart_options, options, rebuild) &&
      options->rebuild != nullptr) {
    const int status = options->rebuild(options, snapshot);
    if (status != CRS_COMPONENT_OK) return status;
  }
  return operation(host, [&] {
    check_memory(*snapshot);
    Start start(*snapshot, *options);
    if (options->spawn_child != 0) return spawn(start, options, restarted);
    start.fail(start.execute());
  });
}

int check_restart(const Host* host, void* state, const crs_component_snapshot* snapshot,
                  const crs_component_restart_options* options) {
  static_cast<void>(state);
  return operation(host, [&] {
    check_memory(*snapshot);
    Start(*snapshot, *options).check();
  });
}

const crs_component_parameter kParameters[] = {
    {"prefix", CRS_COMPONENT_STRING, "crs_self_user",
     "How the names of the program's functions PREFIX_checkpoint, PREFIX_continue and PREFIX_restart begin."}};

}  // namespace
}  // namespace crs::self

extern "C" constexpr crs_component crs_component_table = {
    CRS_COMPONENT_HEAD,
    0,
    "self",
    CRS_VERSION,
    "The program saves itself: by callbacks, or the memory it names",
    crs::self::kParameters,
    std::size(crs::self::kParameters),
    crs::self::query,
    crs::self::init,
    nullptr,
    crs::self::checkpoint,
    crs::self::restart,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    crs::self::check_restart};
