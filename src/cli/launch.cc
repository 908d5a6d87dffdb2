#include "cli/launch.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/no_process.h"

namespace crs::cli {
namespace {

struct Pipe {
  FileDescriptor read_end;
  FileDescriptor write_end;
};

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail_errno(errno, "making a pipe");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

// The null-terminated array of pointers that execve(2) takes.
std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

// A child that has not executed its program yet; killed and reaped at the end of the scope unless release() was called.
class UnbornProgram {
 public:
  explicit UnbornProgram(pid_t pid) noexcept : pid_(pid) {}
  ~UnbornProgram() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  UnbornProgram(const UnbornProgram&) = delete;
  UnbornProgram& operator=(const UnbornProgram&) = delete;
  void release() noexcept { pid_ = 0; }

 private:
  pid_t pid_;
};

class Starter {
 public:
  Starter(const Launch& launch, const SignalState& signals)
      : launch_(launch),
        signals_(signals),
        arguments_(pointers(launch.plan.arguments)),
        environment_(pointers(launch.plan.environment)) {}

  // In the child; only async-signal-safe calls. Ends the process if the program cannot be executed.
  [[noreturn]] void become_program(int permission, int report) {
    // Written when the parent is ready; closed without a byte if it gave up or died.
    char go = 0;
    if (::read(permission, &go, 1) != 1) ::_exit(126);
    if (launch_.allow_tracing) ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    int problem = 0;
    const std::string& directory = launch_.plan.working_directory;  // empty: stay here
    if (!directory.empty() && ::chdir(directory.c_str()) != 0) problem = errno;
    ::umask(launch_.file_mode_mask);
    signals_.restore();
    if (problem == 0) {
      ::execvpe(launch_.plan.application.c_str(), arguments_.data(), environment_.data());
      problem = errno;
    }
    static_cast<void>(!::write(report, &problem, sizeof problem));
    ::_exit(126);
  }

 private:
  const Launch& launch_;
  const SignalState& signals_;
  std::vector<char*> arguments_;
  std::vector<char*> environment_;
};

// 0 once the program is executed (its end of the pipe is then closed), else the errno.
int read_report(int report) {
  int problem = 0;
  ssize_t got = 0;
  do {
    got = ::read(report, &problem, sizeof problem);
  } while (got < 0 && errno == EINTR);
  return got == sizeof problem ? problem : 0;
}

// What to do about `problem` of execvp(3), or nothing where its own words say all there is to say.
std::string advice_about_execution(const std::string& application, int problem) {
  const bool named_by_path = application.find('/') != std::string::npos;
  std::error_code ignored;
  if (problem == EACCES && std::filesystem::is_directory(application, ignored))
    return "Name a program: it is a directory";
  if (problem == EACCES) return "Make it executable (chmod +x), or name the interpreter before it";
  if (problem != ENOENT) return {};
  if (!named_by_path) return "There is no such program in $PATH";
  return std::filesystem::exists(application, ignored) ? "The file is there, but the interpreter that it names is not"
                                                       : "Check the path: a relative one begins in the working "
                                                         "directory, and a name without '/' is looked for in "
                                                         "$PATH";
}

[[noreturn]] void fail_execution(const LaunchPlan& plan, int problem) {
  Error error = Error::from_errno(fmt::format("'{}' cannot be executed", plan.application), problem);
  const std::string advice = advice_about_execution(plan.application, problem);
  if (!advice.empty()) error.advise(advice);
  throw ExecutionError(error);
}

}  // namespace

pid_t launch(const Launch& launch, const SignalState& signals, const std::function<void(pid_t)>& before_exec) {
  Pipe permission = make_pipe();
  Pipe report = make_pipe();
  Starter starter(launch, signals);
  const pid_t child = ::fork();
  if (child < 0) throw no_process("no new process can be made", errno);
  if (child == 0) {
    permission.write_end.reset();
    starter.become_program(permission.read_end.get(), report.write_end.get());
  }
  UnbornProgram unborn(child);
  report.write_end.reset();
  before_exec(child);
  if (::write(permission.write_end.get(), "g", 1) != 1) fail_errno(errno, "the new process has gone");
  if (const int problem = read_report(report.read_end.get()); problem != 0) fail_execution(launch.plan, problem);
  unborn.release();
  return child;
}

}  // namespace crs::cli
