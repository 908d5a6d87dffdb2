// A child process that sets itself up by running a function and then waits to be killed.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <stdexcept>

namespace crs::test {

class Child {
 public:
  // Returns when `prepare` has returned in the child; throws if it returned false.
  explicit Child(const std::function<bool()>& prepare) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("no pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const char answer = prepare() ? 'y' : 'n';
      // Called once before the answer, so that the dynamic linker writes nothing after it.
      ::poll(nullptr, 0, 0);
      if (::write(ends[1], &answer, 1) != 1) ::_exit(1);
      while (true) ::poll(nullptr, 0, -1);
    }
    ::close(ends[1]);
    char answer = 0;
    const bool prepared = ::read(ends[0], &answer, 1) == 1 && answer == 'y';
    ::close(ends[0]);
    if (!prepared) {
      end();
      throw std::runtime_error("the child could not prepare itself");
    }
  }
  ~Child() { end(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }

 private:
  void end() const {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid_;
};

}  // namespace crs::test
