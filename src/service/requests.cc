#include "service/requests.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/cancellation.h"
#include "base/error.h"
#include "base/signals_blocked.h"
#include "base/thrown.h"
#include "service/after_fork.h"
#include "service/asker.h"
#include "service/layer_stack.h"
#include "wire/messages.h"
#include "wire/request_socket.h"

namespace crs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostClients = 32;
constexpr std::chrono::seconds kLongestRequest{10};  // from the connection to the whole request
// After something for which the system had no means left, and which would fail at once again.
constexpr std::chrono::milliseconds kPauseWithoutMeans{200};

// Does something however the thread leaves the block.
template <typename Action>
class AtEnd {
 public:
  explicit AtEnd(Action action) : action_(std::move(action)) {}
  ~AtEnd() { action_(); }
  AtEnd(const AtEnd&) = delete;
  AtEnd& operator=(const AtEnd&) = delete;

 private:
  Action action_;
};

}  // namespace

class RequestListener::Loop : public Layer {
 public:
  Loop(Service& service, TakenBy taken_by, std::string job)
      : service_(service), taken_by_(std::move(taken_by)), job_(std::move(job)) {
    open();
    const SignalsBlocked blocked;
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error& problem) {
      remove_file();
      close_own();
      throw Error::from_errno("making the thread that listens", problem.code().value());
    }
  }

  ~Loop() override {
    if (generation_ != fork_generation()) {
      abandon();
    } else {
      end();
    }
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  std::string path() const {
    const std::lock_guard lock(mutex_);
    return listening_.path;
  }

  void leave_no_file() const {
    if (generation_ != fork_generation()) return;
    const std::lock_guard lock(mutex_);
    remove_file();
  }

  Answer notify(State state) override {
    switch (state) {
      case State::Checkpoint:
        park();
        break;
      case State::RestartPre:
        close_all();
        break;
      case State::Restart:
        open();
        go_on();
        break;
      default:
        go_on();
    }
    return Answer::Done;
  }

 private:
  void end() {
    {
      const std::lock_guard lock(mutex_);
      remove_file();  // first: a snapshot that is being taken is still waited for
      stops_ = true;
      changed_.notify_all();
      if (wake_) wake_up();
    }
    thread_.join();
    for (const ClientPointer& client : clients_) {
      client->gone = true;
      service_.look_again();
      if (client->thread.joinable()) client->thread.join();
      client->close();
    }
    close_own();
  }

  void remove_file() const {
    if (listening_.directory) ::unlinkat(listening_.directory.get(), listening_.name.c_str(), 0);
  }

  void open() {
    wire::Listening listening = wire::listen_for_requests(service_.environment("XDG_RUNTIME_DIR").value_or(""));
    FileDescriptor wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake) fail_errno(errno, "making a wake-up channel");
    const std::lock_guard lock(mutex_);
    listening_ = std::move(listening);
    wake_ = std::move(wake);
    for (const int number : {listening_.directory.get(), listening_.socket.get(), wake_.get()}) {
      if (number >= 0) own_.push_back(std::make_unique<Claimed>(service_.ledger(), number));
    }
    reserve_descriptor();
  }

  // One to give up for an asker who is to hear that there is no other.
  void reserve_descriptor() {
    if (reserve_ != nullptr) return;
    const int number = ::eventfd(0, EFD_CLOEXEC);
    if (number >= 0) reserve_ = std::make_unique<Claimed>(service_.ledger(), number);
  }

  void give_up_reserve() {
    if (reserve_ == nullptr) return;
    reserve_->close();
    reserve_.reset();
  }

  void close_own() {
    give_up_reserve();
    for (const auto& claimed : own_) claimed->close();
    own_.clear();
    listening_.directory.release();
    listening_.socket.release();
    wake_.release();
  }

  void wake_up() const {
    const std::uint64_t one = 1;
    // It fails only where the channel is full, and then the thread wakes up all the same.
    static_cast<void>(!::write(wake_.get(), &one, sizeof one));
  }

  // No thread of the listener touches a descriptor from here on, but the one that carries out the checkpoint.
  void park() {
    std::unique_lock lock(mutex_);
    parks_ = true;
    wake_up();
    changed_.wait(lock, [&] { return parked_ && busy_ == 0; });
  }

  void go_on() {
    const std::lock_guard lock(mutex_);
    parks_ = false;
    changed_.notify_all();
  }

  void close_all() {
    {
      const std::lock_guard lock(mutex_);
      close_own();
      for (const ClientPointer& client : clients_) {
        if (client->taking) continue;  // its number is the restart's channel
        client->dropped = client->gone = true;
        client->close();
      }
    }
    service_.look_again();
  }

  // In a forked process, where no thread is and the descriptors are closed.
  void abandon() {
    thread_.detach();
    for (const ClientPointer& client : clients_) {
      if (client->thread.joinable()) client->thread.detach();
      client->connection->release();
      static_cast<void>(client->claimed.release());
    }
    for (auto& claimed : own_) static_cast<void>(claimed.release());
    static_cast<void>(reserve_.release());
    listening_.directory.release();
    listening_.socket.release();
    wake_.release();
  }

  void run() {
    ::pthread_setname_np(::pthread_self(), "crs requests");
    while (wait_until_wanted()) {
      try {
        look();
      } catch (const std::exception&) {  // no memory: nobody can be told
        deaf_until_ = Clock::now() + kPauseWithoutMeans;
        ::poll(nullptr, 0, static_cast<int>(kPauseWithoutMeans.count()));
      }
    }
  }

  // False: the end.
  bool wait_until_wanted() {
    std::unique_lock lock(mutex_);
    parked_ = parks_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !parks_ || stops_; });
    parked_ = false;
    return !stops_;
  }

  void look() {
    std::vector<pollfd> entries{
        {.fd = wake_.get(), .events = POLLIN, .revents = 0},
        {.fd = Clock::now() >= deaf_until_ ? listening_.socket.get() : -1, .events = POLLIN, .revents = 0}};
    std::vector<ClientPointer> watched;
    for (const ClientPointer& client : clients_) {
      if (client->gone || client->ended) continue;
      watched.push_back(client);
      entries.push_back({.fd = client->connection->number(),
                         .events = static_cast<short>(client->serving ? POLLRDHUP : POLLIN),
                         .revents = 0});
    }
    if (::poll(entries.data(), entries.size(), time_to_wait()) < 0) return;
    std::uint64_t count = 0;
    if (entries[0].revents != 0) static_cast<void>(!::read(wake_.get(), &count, sizeof count));
    {
      // A checkpoint that waits for this thread to park must not find it among descriptors.
      const std::lock_guard lock(mutex_);
      if (parks_) return;
    }
    for (std::size_t i = 0; i < watched.size(); ++i) {
      if (entries[i + 2].revents != 0) attend(watched[i]);
    }
    clear_away();
    if (entries[1].revents != 0) accept();
  }

  int time_to_wait() const {
    const auto now = Clock::now();
    std::optional<Clock::time_point> next;
    const auto until = [&](Clock::time_point time) { next = next ? std::min(*next, time) : time; };
    if (deaf_until_ > now) until(deaf_until_);
    for (const ClientPointer& client : clients_) {
      if (!client->serving && !client->gone) until(client->deadline);
    }
    if (!next) return -1;
    return static_cast<int>(
        std::max<std::int64_t>(std::chrono::ceil<std::chrono::milliseconds>(*next - now).count(), 0));
  }

  FileDescriptor accept_connection() const {
    return FileDescriptor(::accept4(listening_.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }

  void accept() {
    reserve_descriptor();
    FileDescriptor socket = accept_connection();
    if (!socket) return accept_without_means(errno);
    auto client = std::make_shared<Client>();
    const int number = socket.get();
    client->connection = std::make_shared<wire::Connection>(std::move(socket), "the one who asks");
    client->deadline = Clock::now() + kLongestRequest;
    try {
      client->claimed = std::make_unique<Claimed>(service_.ledger(), number);
      client->peer = client->connection->peer();
      check(*client);
    } catch (const std::exception& problem) {
      refuse(*client, problem);
      return client->close();
    }
    const std::lock_guard lock(mutex_);
    clients_.push_back(std::move(client));
  }

  void check(const Client& client) const {
    if (!may_ask(client.peer.user, static_cast<bool>(listening_.directory))) {
      fail(ErrorKind::Failed, "user {} may not ask for a checkpoint of a program of user {}", client.peer.user,
           ::geteuid());
    }
    if (clients_.size() >= kMostClients) {
      throw Error(ErrorKind::Failed,
                  fmt::format("too many ask this program for a checkpoint at once: {} are served", clients_.size()))
          .advise("Try again later");
    }
  }

  // Whoever connected would wait for ever, and poll(2) would show the connection at once again and again.
  void accept_without_means(int error_number) {
    if (error_number == EAGAIN || error_number == EINTR || error_number == ECONNABORTED) return;
    if (error_number == EMFILE || error_number == ENFILE) {
      give_up_reserve();
      if (FileDescriptor socket = accept_connection()) {
        Client client;
        client.connection = std::make_shared<wire::Connection>(std::move(socket), "the one who asks");
        refuse(client,
               Error::from_errno("the program has no descriptor left for whoever asks for a checkpoint", error_number)
                   .advise("Raise the program's limit of open files (prlimit --nofile)"));
        client.connection.reset();
        return reserve_descriptor();
      }
    }
    deaf_until_ = Clock::now() + kPauseWithoutMeans;
  }

  static void refuse(Client& client, const std::exception& problem) {
    const auto* const known = dynamic_cast<const Error*>(&problem);
    const Error error = known != nullptr ? *known : Error(ErrorKind::Failed, problem.what());
    try {
      client.connection->send(wire::to_message(wire::Failure{error}));
    } catch (const Error&) {  // whoever it was has gone
    }
    client.gone = true;
  }

  void attend(const ClientPointer& client) {
    if (client->serving) {
      client->gone = true;
      return service_.look_again();
    }
    try {
      const wire::Received received = client->connection->receive(Clock::now());
      if (received.kind == wire::Received::Kind::End) client->gone = true;
      if (received.kind == wire::Received::Kind::Arrived) begin(client, wire::from<wire::Request>(received.message));
    } catch (const std::exception& problem) {
      refuse(*client, problem);
    }
  }

  void begin(const ClientPointer& client, wire::Request request) {
    client->serving = true;
    try {
      client->thread = std::thread([this, client, request = std::move(request)] { serve(client, request); });
    } catch (const std::system_error& problem) {
      client->serving = false;
      throw Error::from_errno("the program cannot make the thread that would carry the checkpoint out",
                              problem.code().value())
          .advise("Its user has too many processes and threads (ulimit -u), or its control group (pids.max)");
    }
  }

  // Those who have gone or have been served; and those who never came to the point.
  void clear_away() {
    std::vector<ClientPointer> over;
    {
      const std::lock_guard lock(mutex_);
      for (auto place = clients_.begin(); place != clients_.end();) {
        Client& client = **place;
        if (!client.serving && Clock::now() >= client.deadline) client.gone = true;
        const bool is_over = client.serving ? client.ended.load() : client.gone.load();
        if (is_over) over.push_back(*place);
        place = is_over ? clients_.erase(place) : std::next(place);
      }
    }
    for (const ClientPointer& client : over) {
      if (client->thread.joinable()) client->thread.join();
      client->close();
    }
  }

  // Runs `action` while no snapshot is taken, unless the client is one of the time before a restart. At the listener's
  // end nobody tells it any more that a snapshot is over.
  template <typename Action>
  void beside_snapshots(Client& client, const Action& action) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !parks_ || stops_; });
      if (client.dropped) return;
      ++busy_;
    }
    try {
      action();
    } catch (const Error&) {  // a message that nobody takes: the loop sees that the client has gone
    }
    const std::lock_guard lock(mutex_);
    --busy_;
    changed_.notify_all();
  }

  void report(Client& client, const Progress& progress) {
    // How it fails is told at the end, in full.
    if (progress.stage == Progress::Stage::Failed || progress.stage == Progress::Stage::Done) return;
    const auto send = [&] { client.connection->send(wire::to_message(wire::Progressed{progress})); };
    if (progress.stage == Progress::Stage::Accepted) return beside_snapshots(client, send);
    send();
  }

  ServiceCheckpointOptions options_for(const ClientPointer& client, const wire::Request& request) {
    ServiceCheckpointOptions options;
    options.after = request.after;
    options.time_limit = options.turn_limit = request.time_limit;
    options.leave_out = request.leave_out;
    options.exclude = request.exclude;
    options.given_up = [client] { return client->gone.load(); };
    options.progress = [this, client](const Progress& progress) { report(*client, progress); };
    options.make_place = [this, client] {
      const std::optional<RestartNews> news = service_.news();
      return make_taker_place(taken_by_, news ? news->job : job_, [client] {
        client->taking = true;
        // Where the system lets only ancestors trace a process (Yama).
        if (client->peer.pid > 0) ::prctl(PR_SET_PTRACER, static_cast<unsigned long>(client->peer.pid), 0, 0, 0);
        return client->connection;
      });
    };
    return options;
  }

  void serve(const ClientPointer& client, const wire::Request& request) {
    ::pthread_setname_np(::pthread_self(), "crs checkpoint");
    // A layer may have this thread cancelled: the asker hears the outcome all the same.
    const CancellationDeferred deferred;
    // Said also where a layer ends this thread.
    wire::Message last = wire::to_message(wire::Failure{Error(ErrorKind::Failed, "a layer ended the thread")});
    const AtEnd at_end([&] { say_last(*client, last); });
    try {
      const Checkpointed outcome = service_.checkpoint(options_for(client, request));
      last = client->taking ? wire::Message() : wire::to_message(wire::Layers{outcome.layers, {}});
    } catch (const Error& error) {
      last = wire::to_message(wire::Failure{error});
    } catch (...) {
      if (is_thread_ending()) throw;
      last = wire::to_message(wire::Failure{Error(ErrorKind::Failed, words_of_current_exception())});
    }
  }

  void say_last(Client& client, const wire::Message& last) {
    if (!last.is_null()) beside_snapshots(client, [&] { client.connection->send(last); });
    beside_snapshots(client, [&] { client.close(); });
    client.ended = true;
    const std::lock_guard lock(mutex_);
    if (wake_) wake_up();
  }

  Service& service_;
  TakenBy taken_by_;
  std::string job_;
  std::uint64_t generation_ = fork_generation();
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  wire::Listening listening_;
  FileDescriptor wake_;
  std::vector<std::unique_ptr<Claimed>> own_;
  std::unique_ptr<Claimed> reserve_;  // an additional descriptor
  Clock::time_point deaf_until_;      // nobody is accepted until then; of the loop's thread
  std::list<ClientPointer> clients_;  // changed by the loop's thread alone
  bool stops_ = false;
  bool parks_ = false;   // is to stand still
  bool parked_ = false;  // stands still
  int busy_ = 0;         // threads that send or close something
  std::thread thread_;
};

RequestListener::RequestListener(Service& service, TakenBy taken_by, std::string job)
    : loop_(std::make_unique<Loop>(service, std::move(taken_by), std::move(job))),
      registration_(service.stack_, service.stack_->add("crs requests", *loop_, true)) {}

RequestListener::~RequestListener() {
  if (loop_ == nullptr) return;
  registration_ = LayerRegistration();
}

std::string RequestListener::path() const { return loop_->path(); }
void RequestListener::leave_no_file() noexcept { loop_->leave_no_file(); }

}  // namespace crs
