// A program with a service and two layers, which does what its arguments say, one after the other, and tells on its
// standard output, a line at a time, what happened. After the first argument, the crs that takes its snapshots:
//
//   requests         from outside are listened to, from here on
//   wait             until SIGUSR1 comes
//   section          SIGUSR1 is waited for in a critical section, by thread 'solver'
//   together N       that many threads ask for a checkpoint each
//   fork             a child that tries the service and then starts its own; ends with it
//   checkpoint, stop, kill   of itself
//   limit N          seconds that a checkpoint of itself has from here on
//   news             what the last restart said
//   variable NAME    its value as the service has it
//   thread           one more, which waits for ever
//   full             every descriptor that the limit allows is taken, and /dev/null behind it
//   subreaper        orphans come to this program from here on
//   children         whether there are any, or have been
//   exit N
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "crs/service.hpp"
#include "service/helper.h"
#include "service/native_in_program.h"
#include "service/requests.h"
#include "service/taker_place.h"

namespace {

void tell(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) std::abort();
}

class TellingLayer : public crs::Layer {
 public:
  explicit TellingLayer(std::string name) : name_(std::move(name)) {}
  crs::Answer notify(crs::State state) override {
    tell(name_ + " " + crs::name_of(state));
    const char* failing = std::getenv("TELLER_FAILS");
    if (failing != nullptr && name_ + " " + crs::name_of(state) == failing) {
      crs::fail(crs::ErrorKind::Failed, "it was told to fail");
    }
    const char* sleeping = std::getenv("TELLER_SLEEPS");
    if (sleeping != nullptr && name_ + " " + crs::name_of(state) == sleeping) ::sleep(12);
    const char* forking = std::getenv("TELLER_FORKS");
    if (forking != nullptr && name_ + " " + crs::name_of(state) == forking) leave_child();
    const char* ending = std::getenv("TELLER_ENDS");
    if (ending != nullptr && name_ + " " + crs::name_of(state) == ending) ::_exit(4);
    const char* leaving = std::getenv("TELLER_ENDS_THREAD");
    if (leaving != nullptr && name_ + " " + crs::name_of(state) == leaving) ::pthread_exit(nullptr);
    const char* cancelling = std::getenv("TELLER_CANCELS_THREAD");
    if (cancelling != nullptr && name_ + " " + crs::name_of(state) == cancelling) ::pthread_cancel(::pthread_self());
    return crs::Answer::Done;
  }

 private:
  // It takes no lock that another thread may have held.
  static void leave_child() {
    const pid_t child = ::fork();
    while (child == 0) ::pause();
    tell("child " + std::to_string(child));
  }

  std::string name_;
};

class Teller {
 public:
  explicit Teller(const std::string& helper)
      : helper_(helper),
        component_(crs::make_native_in_program(crs::find_helper(helper))),
        module_(component_->query().module),
        service_(*module_, component_->capabilities(),
                 crs::make_helper_places({"native", component_->version(), component_->interface_version()},
                                         {.program = crs::find_helper(helper), .arguments = {}},
                                         [this] { return &service_; })) {
    lower_member_ = service_.register_layer("lower", lower_);
    upper_member_ = service_.register_layer("upper", upper_);
  }

  // Whether there is more to do.
  void perform(std::deque<std::string>& words) {
    const std::string word = take(words);
    if (word == "wait") return wait();
    if (word == "requests") return listen();
    if (word == "section") return section();
    if (word == "together") return together(std::stoi(take(words)));
    if (word == "fork") return fork();
    if (word == "checkpoint") return checkpoint(crs::AfterCheckpoint::Continue);
    if (word == "stop") return checkpoint(crs::AfterCheckpoint::Stop);
    if (word == "kill") return checkpoint(crs::AfterCheckpoint::Kill);
    if (word == "limit") return static_cast<void>(time_limit_ = std::chrono::seconds(std::stoi(take(words))));
    if (word == "news") return news();
    if (word == "variable") return variable(take(words));
    if (word == "subreaper") return static_cast<void>(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    if (word == "children") return children();
    if (word == "full") return full();
    if (word == "thread") return std::thread([] { ::pause(); }).detach();
    if (word == "exit") {
      listener_.reset();
      std::exit(std::stoi(take(words)));
    }
    std::abort();
  }

 private:
  static std::string take(std::deque<std::string>& words) {
    std::string word = words.front();
    words.pop_front();
    return word;
  }

  static void wait() {
    tell("waiting");
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGUSR1);
    int signal = 0;
    ::sigwait(&set, &signal);
  }

  // The layers of the listener are below the others, as in a program that starts its service first.
  void listen() {
    upper_member_ = crs::LayerRegistration();
    lower_member_ = crs::LayerRegistration();
    listener_ = std::make_unique<crs::RequestListener>(
        service_, crs::TakenBy{"native", component_->version(), component_->interface_version()});
    lower_member_ = service_.register_layer("lower", lower_);
    upper_member_ = service_.register_layer("upper", upper_);
  }

  void section() {
    service_.critical_sections().register_thread("solver");
    const crs::CriticalSection section(service_.critical_sections());
    wait();
  }

  void together(int count) {
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) threads.emplace_back([this] { checkpoint(crs::AfterCheckpoint::Continue); });
    for (std::thread& thread : threads) thread.join();
  }

  void fork() {
    const pid_t child = ::fork();
    if (child == 0) {
      checkpoint(crs::AfterCheckpoint::Continue);
      listener_.reset();
      Teller own(helper_);
      own.listen();
      own.checkpoint(crs::AfterCheckpoint::Continue);
      own.listener_.reset();
      tell("child done");
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    tell("child ended with " + std::to_string(status));
  }

  static void full() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 64;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    while (::open("/dev/null", O_RDONLY) >= 0) {
    }
  }

  static void children() {
    int is_subreaper = 0;
    ::prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper, 0, 0, 0);
    const bool has_none = ::waitpid(-1, nullptr, WNOHANG | __WALL) < 0;
    tell(std::string(has_none ? "no children" : "children") + (is_subreaper != 0 ? ", a subreaper" : ""));
  }

  void checkpoint(crs::AfterCheckpoint after) {
    crs::ServiceCheckpointOptions options;
    options.after = after;
    if (time_limit_) options.time_limit = *time_limit_;
    try {
      const crs::Checkpointed outcome = service_.checkpoint(options);
      tell(std::string("checkpoint ") + crs::name_of(outcome.state) + " " + outcome.reference);
    } catch (const crs::Error& error) {
      tell(std::string("failed ") + error.what());
    }
  }

  void news() {
    const auto news = service_.news();
    tell(news ? "news " + news->reference + " of " + news->job + ", " + std::to_string(news->environment.size()) +
                    " variables"
              : "no news");
  }

  void variable(const std::string& name) {
    const auto value = service_.environment(name);
    tell("variable " + name + "=" + value.value_or("(none)"));
  }

  std::string helper_;
  std::optional<std::chrono::seconds> time_limit_;
  std::unique_ptr<crs::Component> component_;
  std::unique_ptr<crs::Module> module_;
  crs::Service service_;
  std::unique_ptr<crs::RequestListener> listener_;
  TellingLayer lower_{"lower"};
  TellingLayer upper_{"upper"};
  crs::LayerRegistration lower_member_;
  crs::LayerRegistration upper_member_;
};

}  // namespace

int main(int argc, char** argv) {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  std::deque<std::string> words(argv + 1, argv + argc);
  const std::string helper = words.front();
  words.pop_front();
  Teller teller(helper);
  while (!words.empty()) teller.perform(words);
  tell("done");
}
