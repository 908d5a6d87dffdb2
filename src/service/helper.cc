#include "service/helper.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/signals_blocked.h"
#include "framework/installed_tree.h"

// The two children below share this process's memory for a moment, as those of vfork(2) do; sanitizers do not know
// that.
#if defined(__clang__) || defined(__GNUC__)
#define CRS_UNINSTRUMENTED __attribute__((no_sanitize("address", "thread", "undefined")))
#else
#define CRS_UNINSTRUMENTED
#endif

namespace crs {
namespace {

constexpr int kChannel = 3;
constexpr std::size_t kStackSize = std::size_t{64} << 10;

// A stack that is there for as long as a child runs on it.
class Stack {
 public:
  Stack()
      : start_(::mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0)) {
    if (start_ == MAP_FAILED) fail_errno(errno, "making a stack for the helper");
  }
  ~Stack() { ::munmap(start_, kStackSize); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  void* top() const { return static_cast<char*>(start_) + kStackSize; }

 private:
  void* start_;
};

// What the children read and what they write.
struct Start {
  const char* program = nullptr;
  char* const* arguments = nullptr;
  char* const* environment = nullptr;
  int socket = -1;
  int null_device = -1;
  bool has_streams = false;  // the caller's, as far as they are open
  void* helper_stack = nullptr;
  pid_t helper = 0;
  int error_number = 0;
};

// Only calls that are safe after fork(2) in a program with threads, signal-safety(7).
CRS_UNINSTRUMENTED int become_helper(void* argument) {
  auto& start = *static_cast<Start*>(argument);
  ::setsid();
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // Both were made above the standard streams.
  const bool has_streams = start.has_streams || (::dup2(start.null_device, STDIN_FILENO) >= 0 &&
                                                 ::dup2(start.null_device, STDOUT_FILENO) >= 0);
  if (!has_streams || ::dup2(start.socket, kChannel) < 0 || ::close_range(kChannel + 1, ~0U, 0) != 0) {
    start.error_number = errno;
    ::_exit(1);
  }
  ::execve(start.program, start.arguments, start.environment);
  start.error_number = errno;
  ::_exit(1);
}

// Its end makes the helper nobody's child.
CRS_UNINSTRUMENTED int start_and_leave(void* argument) {
  auto& start = *static_cast<Start*>(argument);
  start.helper = ::clone(become_helper, start.helper_stack, CLONE_VM | CLONE_VFORK, argument);
  if (start.helper < 0) start.error_number = errno;
  ::_exit(0);
}

// The number is none of the standard streams', nor the helper's channel.
FileDescriptor above_standard(const FileDescriptor& descriptor) {
  FileDescriptor copy(::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, kChannel + 1));
  if (!copy) fail_errno(errno, "duplicating a descriptor");
  return copy;
}

std::vector<char*> pointers_to(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  // execve(2) takes them as they are and changes none.
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// For as long as this exists no orphan comes to this process (prctl(2), PR_SET_CHILD_SUBREAPER): the helper would, as a
// child that the program never made. What else loses its parent just then goes to init.
class NoSubreaper {
 public:
  NoSubreaper() {
    ::prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper_, 0, 0, 0);
    if (is_subreaper_ != 0) ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  }
  ~NoSubreaper() {
    if (is_subreaper_ != 0) ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  }
  NoSubreaper(const NoSubreaper&) = delete;
  NoSubreaper& operator=(const NoSubreaper&) = delete;

 private:
  int is_subreaper_ = 0;
};

void run(Start& start) {
  const Stack stack;
  const Stack helper_stack;
  start.helper_stack = helper_stack.top();
  // No signal handler of the program's may run in a child that shares its memory.
  const SignalsBlocked signals;
  const NoSubreaper no_subreaper;
  // No exit signal: the child's end is not announced, and only those who ask for such children see it (clone(2),
  // __WCLONE).
  const pid_t child = ::clone(start_and_leave, stack.top(), CLONE_VM | CLONE_VFORK, &start);
  if (child < 0) fail_errno(errno, "starting a helper");
  while (::waitpid(child, nullptr, __WCLONE) < 0 && errno == EINTR) {
  }
}

}  // namespace

std::string find_helper(const std::string& parameter) {
  if (!parameter.empty()) return parameter;
  const std::string installed = installed_crs();
  return installed.empty() ? crs_in_path() : installed;
}

wire::Connection start_helper(const std::string& program, const std::vector<std::string>& arguments,
                              const std::vector<std::string>& environment, const HelperTask& task) {
  auto [ours, theirs] = wire::Connection::make_pair();
  const FileDescriptor null_device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null_device) fail_errno(errno, "opening /dev/null");
  const FileDescriptor socket = above_standard(theirs);
  const FileDescriptor in_place_of_streams = above_standard(null_device);
  std::vector<std::string> words{program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  words.insert(words.end(), {"--fd", std::to_string(kChannel)});
  const std::vector<char*> argument_pointers = pointers_to(words);
  const std::vector<char*> environment_pointers = pointers_to(environment);
  Start start{.program = program.c_str(),
              .arguments = argument_pointers.data(),
              .environment = environment_pointers.data(),
              .socket = socket.get(),
              .null_device = in_place_of_streams.get(),
              .has_streams = task.streams == Streams::Callers};
  run(start);
  if (start.error_number != 0) {
    throw Error::from_errno(fmt::format("cannot start {}, the crs that {}", program, task.name), start.error_number)
        .advise("The parameter crs_helper names the crs to use");
  }
  // Where there is no Yama the call fails, and is not needed.
  ::prctl(PR_SET_PTRACER, static_cast<unsigned long>(start.helper), 0, 0, 0);
  return {std::move(ours), "the crs that " + task.name};
}

}  // namespace crs
