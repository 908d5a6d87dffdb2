// T2 of the service's contract with threads that use the layers meanwhile, T4 and T9, against the checkpointer that
// only pretends. Everything happens in this process, so that a thread sanitizer sees it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "service/world.h"

namespace crs::testing {
namespace {

using Pair = std::array<int, 2>;

Pair make_pair_of_sockets() {
  Pair ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) fail_errno(errno, "socketpair");
  return ends;
}

// What a restart leaves at a number whose connection does not come back: a socket that says so to whoever reads.
void replace_by_dead_socket(int number) {
  const Pair ends = make_pair_of_sockets();
  ::close(ends[1]);
  ::shutdown(number, SHUT_RDWR);  // a thread that is in a read of it returns
  ::dup2(ends[0], number);
  ::close(ends[0]);
}

// Connections, and a thread that uses one after the other, forward and back, whenever it may.
class TrafficLayer : public Layer {
 public:
  TrafficLayer(std::string name, int connections, int more_after_restart, bool reopens, Ledger& ledger)
      : name_(std::move(name)), more_after_restart_(more_after_restart), reopens_(reopens), ledger_(ledger) {
    open(connections);
    thread_ = std::thread([this] { work(); });
  }
  ~TrafficLayer() override {
    end();
    close_all();
  }
  TrafficLayer(const TrafficLayer&) = delete;
  TrafficLayer& operator=(const TrafficLayer&) = delete;

  // No traffic any more.
  void end() {
    quiet_ = true;
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  Answer notify(State state) override {
    if (state == State::Checkpoint) quiet_ = true;
    // The thread holds the lock while it uses a connection.
    const std::lock_guard lock(mutex_);
    switch (state) {
      case State::Checkpoint:
        return reopens_ ? Answer::Reopen : Answer::Done;
      case State::RestartPre:
        close_all();
        break;
      case State::Restart:
        open(std::max(0, static_cast<int>(claims_before_) + more_after_restart_));
        quiet_ = false;
        break;
      default:
        quiet_ = false;
    }
    changed_.notify_all();
    return Answer::Done;
  }

  std::vector<int> numbers() const {
    const std::lock_guard lock(mutex_);
    std::vector<int> numbers;
    for (const Connection& connection : connections_) numbers.push_back(connection.claim.number);
    return numbers;
  }
  std::string problem() const {
    const std::lock_guard lock(mutex_);
    return problem_;
  }
  long passed() const { return passed_; }

 private:
  struct Connection {
    Claim claim;
    int peer = -1;
  };

  void open(int count) {
    for (int index = 0; index < count; ++index) {
      const Pair ends = make_pair_of_sockets();
      connections_.push_back({ledger_.claim(ends[0], name_), ends[1]});
    }
    claims_before_ = connections_.size();
  }

  void close_all() {
    for (const Connection& connection : connections_) {
      ledger_.close(connection.claim);
      ::close(connection.peer);
    }
    connections_.clear();
  }

  void work() {
    for (unsigned turn = 0;; ++turn) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !quiet_ || ends_; });
      if (ends_) return;
      if (!connections_.empty()) use(connections_[turn % connections_.size()], turn);
      lock.unlock();
      std::this_thread::yield();
    }
  }

  void use(const Connection& connection, unsigned turn) {
    const std::string sent = name_ + " " + std::to_string(turn);
    std::array<char, 64> buffer{};
    const bool gone = ::send(connection.claim.number, sent.data(), sent.size(), MSG_NOSIGNAL) < 0;
    const ssize_t length = gone ? -1 : ::recv(connection.peer, buffer.data(), buffer.size(), MSG_DONTWAIT);
    const std::string received(buffer.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
    if (received != sent && problem_.empty()) problem_ = fmt::format("'{}' sent, '{}' received", sent, received);
    ++passed_;
  }

  std::string name_;
  int more_after_restart_;
  bool reopens_;
  Ledger& ledger_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Connection> connections_;
  std::size_t claims_before_ = 0;
  std::atomic<bool> quiet_ = false;
  bool ends_ = false;
  std::string problem_;
  std::atomic<long> passed_ = 0;
  std::thread thread_;
};

// A program of random layers, a thread that enters critical sections, and one whose layer comes and goes.
class Program {
 public:
  explicit Program(unsigned seed) : random_(seed) {
    make_holes();
    const int count = pick(2, 6);
    for (int index = 0; index < count; ++index) {
      const std::string name = "layer" + std::to_string(index);
      layers_.push_back(
          std::make_unique<TrafficLayer>(name, pick(0, 8), pick(-2, 2), pick(0, 3) == 0, service_.ledger()));
      registrations_.push_back(service_.register_layer(name, *layers_.back()));
    }
    module_.happen = [this] { return take_snapshot(); };
    in_sections_ = std::thread([this] { enter_sections(); });
    coming_and_going_ = std::thread([this] { come_and_go(); });
  }
  ~Program() { end(); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Checkpoints, some of which turn out to be restarts; by two threads at once.
  std::string run(int checkpoints) {
    const auto ask = [&] {
      for (int index = 0; index < checkpoints; ++index) service_.checkpoint();
    };
    std::thread other(ask);
    ask();
    other.join();
    end();
    for (const auto& layer : layers_) layer->end();
    for (const auto& layer : layers_) {
      if (std::string problem = layer->problem(); !problem.empty()) return problem;
    }
    return problem_;
  }

 private:
  int pick(int from, int to) { return std::uniform_int_distribution(from, to)(random_); }

  // Numbers that are free, between others that are nobody's here.
  void make_holes() {
    std::vector<FileDescriptor> passing;
    for (int count = pick(0, 12); count > 0; --count) {
      FileDescriptor opened(::open("/dev/null", O_RDWR | O_CLOEXEC));
      (pick(0, 1) == 0 ? passing : bystanders_).push_back(std::move(opened));
    }
  }

  State take_snapshot() {
    taking_ = true;
    for (const auto& layer : layers_) {
      for (const int number : restarts_ ? layer->numbers() : std::vector<int>()) replace_by_dead_socket(number);
    }
    taking_ = false;
    return restarts_ ? State::Restart : State::Continue;
  }

  void enter_sections() {
    bool caught = false;
    while (!ends_) {
      const CriticalSection section(service_.critical_sections());
      const CriticalSection nested(service_.critical_sections());
      caught = caught || taking_;
      static_cast<void>(service_.layers());
      caught = caught || taking_;
      std::this_thread::yield();
    }
    if (caught) problem_ = "a snapshot was taken inside of a critical section";
  }

  void come_and_go() {
    while (!ends_) {
      TrafficLayer passing("passing", 1, 0, false, service_.ledger());
      // Without connections at a restart: what would be lost is not known to the one that loses it.
      const std::vector<int> numbers = passing.numbers();
      const LayerRegistration registration = service_.register_layer("passing", passing);
      service_.ask_again();
      for (const int number : numbers) static_cast<void>(service_.ledger().owner_of(number));
    }
  }

  void end() {
    ends_ = true;
    if (in_sections_.joinable()) in_sections_.join();
    if (coming_and_going_.joinable()) coming_and_going_.join();
  }

  std::mt19937 random_;
  std::vector<FileDescriptor> bystanders_;
  PretendedModule module_;
  Service service_{module_, Capabilities{.dead_sockets = true}, counting_places()};
  std::vector<std::unique_ptr<TrafficLayer>> layers_;
  std::vector<LayerRegistration> registrations_;
  bool restarts_ = pick(0, 3) != 0;
  std::atomic<bool> ends_ = false;
  std::atomic<bool> taking_ = false;
  std::string problem_;
  std::thread in_sections_;
  std::thread coming_and_going_;
};

TEST(Traffic, GoesOnInRandomLayoutsWhateverOtherThreadsDo) {
  for (unsigned seed = 1; seed <= 100; ++seed) ASSERT_EQ(Program(seed).run(3), "") << "seed " << seed;
}

// --- T4 ---

// The lowest layer of many programs: a loop that waits in poll(2), and is woken through a pipe by headers of 36 bytes.
class LoopLayer : public Layer {
 public:
  static constexpr std::size_t kHeader = 36;
  explicit LoopLayer(Ledger& ledger) : ledger_(ledger) { open(); }
  ~LoopLayer() override { close(); }
  LoopLayer(const LoopLayer&) = delete;
  LoopLayer& operator=(const LoopLayer&) = delete;

  Answer notify(State state) override {
    if (state == State::RestartPre) {
      // What lay in the pipe is still to be heard of.
      while (has_woken(0)) left_.push_back(take());
      close();
    }
    if (state == State::Restart) open();
    return Answer::Done;
  }

  void wake(char fill) const {
    const std::string header(kHeader, fill);
    ASSERT_EQ(::write(ends_[1].number, header.data(), header.size()), static_cast<ssize_t>(kHeader));
  }
  bool has_woken(int milliseconds) const {
    pollfd entry{.fd = ends_[0].number, .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, milliseconds) == 1 && (entry.revents & POLLIN) != 0;
  }
  // A whole header or whatever else came.
  std::string take() const {
    std::array<char, 2 * kHeader> buffer{};
    const ssize_t length = ::read(ends_[0].number, buffer.data(), kHeader);
    return {buffer.data(), length > 0 ? static_cast<std::size_t>(length) : 0};
  }
  const std::vector<std::string>& left() const { return left_; }

 private:
  void open() {
    Pair numbers{};
    if (::pipe2(numbers.data(), O_CLOEXEC) != 0) fail_errno(errno, "pipe2");
    for (std::size_t end = 0; end < ends_.size(); ++end) ends_[end] = ledger_.claim(numbers[end], "loop");
    waits_ = ledger_.add_use(ends_[0], "poll");
  }
  void close() {
    ledger_.end_use(waits_);
    for (const Claim& end : ends_) ledger_.close(end);
  }

  Ledger& ledger_;
  std::array<Claim, 2> ends_;
  Use waits_;
  std::vector<std::string> left_;
};

TEST(WakeUpChannel, KeepsAHeaderWholeAndWorksAfterwards) {
  PretendedModule module;
  Service service{module, Capabilities{.pipes = true}, counting_places()};
  LoopLayer loop(service.ledger());
  const auto registration = service.register_layer("loop", loop);
  for (const State end : {State::Continue, State::Restart, State::Restart}) {
    module.happen = [&] {
      loop.wake('h');
      return end;
    };
    service.checkpoint();
    const std::string header(LoopLayer::kHeader, 'h');
    if (end == State::Restart) {
      ASSERT_FALSE(loop.left().empty());
      EXPECT_EQ(loop.left().back(), header);
    } else {
      ASSERT_TRUE(loop.has_woken(0));
      EXPECT_EQ(loop.take(), header);
    }
    EXPECT_FALSE(loop.has_woken(0));
    loop.wake('n');
    ASSERT_TRUE(loop.has_woken(1000));
    EXPECT_EQ(loop.take(), std::string(LoopLayer::kHeader, 'n'));
  }
}

// --- T9 ---

// A layer whose thread is in a read of its socket, where nothing comes.
class ReadingLayer : public Layer {
 public:
  // `asks`: whether the thread asks before each read whether the number is still its own (I4).
  ReadingLayer(bool asks, Ledger& ledger) : asks_(asks), ledger_(ledger) {
    const Pair ends = make_pair_of_sockets();
    peer_ = ends[1];
    claim_ = ledger_.claim(ends[0], "reader");
    use_ = ledger_.add_use(claim_, "the reading thread");
    thread_ = std::thread([this] { read_on(); });
  }
  ~ReadingLayer() override {
    thread_.join();
    ::close(peer_);
  }
  ReadingLayer(const ReadingLayer&) = delete;
  ReadingLayer& operator=(const ReadingLayer&) = delete;

  Answer notify(State state) override {
    if (state == State::RestartPre) {
      ledger_.end_use(use_);
      static_cast<void>(ledger_.close(claim_));
    }
    return Answer::Done;
  }
  int number() const { return claim_.number; }
  // Until the thread is in its read, where a picture would find it (proc_pid_syscall(5)): between the question and the
  // read no answer could help.
  void wait_until_it_reads() const {
    const std::string reads = std::to_string(SYS_read) + " ";
    std::string call;
    while (call.rfind(reads, 0) != 0) {
      std::this_thread::yield();
      std::ifstream file("/proc/self/task/" + std::to_string(id_.load()) + "/syscall");
      std::getline(file, call);
    }
  }
  std::string read() {
    std::unique_lock lock(mutex_);
    over_.wait(lock, [&] { return is_over_; });
    return read_;
  }

 private:
  void read_on() {
    id_ = static_cast<pid_t>(::syscall(SYS_gettid));
    std::array<char, 64> buffer{};
    ssize_t length = 0;
    // The end of the connection is no reason for this thread to stop: its layer reopens.
    for (int tries = 0; tries < kTries; ++tries) {
      if (asks_ && !ledger_.is_usable(use_)) break;
      length = ::read(claim_.number, buffer.data(), buffer.size());
      if (length > 0) break;
      std::this_thread::yield();
    }
    const std::lock_guard lock(mutex_);
    read_.assign(buffer.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
    is_over_ = true;
    over_.notify_all();
  }

  static constexpr int kTries = 1000000;  // enough to outlast the restart
  bool asks_;
  Ledger& ledger_;
  std::atomic<pid_t> id_ = 0;
  Claim claim_;
  Use use_;
  int peer_ = -1;
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
  std::string read_;
  std::thread thread_;
};

// What a thread that was in a read at the checkpoint reads, when its number has become another's by then.
std::string read_after_restart(bool asks) {
  PretendedModule module;
  Service service{module, Capabilities{}, counting_places()};
  ReadingLayer reading(asks, service.ledger());
  const auto registration = service.register_layer("reader", reading);
  Pair others{};
  module.happen = [&] {
    reading.wait_until_it_reads();
    others = make_pair_of_sockets();
    [[maybe_unused]] const ssize_t written = ::write(others[1], "not yours", 9);
    const FileDescriptor before(::dup(reading.number()));
    ::dup2(others[0], reading.number());
    ::shutdown(before.get(), SHUT_RDWR);  // the thread's read ends with its connection
    return State::Restart;
  };
  service.checkpoint();
  std::string text = reading.read();
  ::close(reading.number());
  for (const int end : others) ::close(end);
  return text;
}

TEST(ReadingThread, NeverReadsFromARecycledNumber) {
  EXPECT_EQ(read_after_restart(true), "");
  EXPECT_EQ(read_after_restart(false), "not yours") << "the control that must break";
}

}  // namespace
}  // namespace crs::testing
