#include "cli/own_command.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/io.h"

namespace crs::cli {
namespace {

// The attributes and file actions of posix_spawn(3).
class Spawning {
 public:
  Spawning() {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawn_file_actions_init(&actions_);
    sigset_t none;
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  ~Spawning() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  Spawning(const Spawning&) = delete;
  Spawning& operator=(const Spawning&) = delete;

  // A session of its own has no terminal.
  void detach(int output) {
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO);
  }

  pid_t start(const std::vector<std::string>& arguments) const {
    std::vector<char*> list{const_cast<char*>("crs")};
    for (const std::string& argument : arguments) list.push_back(const_cast<char*>(argument.c_str()));
    list.push_back(nullptr);
    pid_t pid = 0;
    if (const int problem = ::posix_spawn(&pid, "/proc/self/exe", &actions_, &attributes_, list.data(), environ))
      fail_errno(problem, "cannot start crs {}", arguments.front());
    return pid;
  }

 private:
  posix_spawnattr_t attributes_{};
  posix_spawn_file_actions_t actions_{};
};

}  // namespace

OwnCommand::OwnCommand(const std::vector<std::string>& arguments, OwnStreams streams) {
  Spawning spawning;
  if (streams == OwnStreams::ErrorOnly) {
    output_.reset(::memfd_create("crs-output", MFD_CLOEXEC));
    if (!output_) fail_errno(errno, "cannot make a place for the output of crs {}", arguments.front());
    spawning.detach(output_.get());
  }
  pid_ = spawning.start(arguments);
}

bool OwnCommand::ended(bool wait) {
  int status = 0;
  pid_t got = 0;
  do {
    got = ::waitpid(pid_, &status, wait ? 0 : WNOHANG);
  } while (got < 0 && errno == EINTR);
  if (got < 0) fail_errno(errno, "waiting for process {}", pid_);
  if (got == 0) return false;
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return true;
}

std::string OwnCommand::output() const {
  if (!output_) return {};
  ::lseek(output_.get(), 0, SEEK_SET);
  return read_file(output_.get(), "the output of crs");
}

}  // namespace crs::cli
