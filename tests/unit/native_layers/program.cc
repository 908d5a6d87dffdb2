#include "native_layers/program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>

#include "base/error.h"
#include "engine/checkpoint.h"
#include "engine/restart.h"

namespace crs::testing {
namespace {

constexpr int kPatience = 30000;  // milliseconds

int checked(long result, const char* what) {
  if (result < 0) fail_errno(errno, "{}", what);
  return static_cast<int>(result);
}

// A listener with a name that the kernel chose (unix(7), "Autobind feature").
int listen_anywhere() {
  const int number = checked(::socket(AF_UNIX, SOCK_STREAM, 0), "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  checked(::bind(number, reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), "bind");
  checked(::listen(number, 64), "listen");
  return number;
}

std::string name_of_listener(int number) {
  sockaddr_un address{};
  socklen_t length = sizeof address;
  checked(::getsockname(number, reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
  return {address.sun_path, length - offsetof(sockaddr_un, sun_path)};
}

int connect_to(const std::string& name) {
  const int number = checked(::socket(AF_UNIX, SOCK_STREAM, 0), "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  checked(::connect(number, reinterpret_cast<sockaddr*>(&address), length), "connect");
  return number;
}

[[noreturn]] void echo(int listener) {
  std::vector<pollfd> waiting{{listener, POLLIN, 0}};
  while (::poll(waiting.data(), waiting.size(), -1) >= 0) {
    if (waiting[0].revents != 0) waiting.push_back({::accept(listener, nullptr, nullptr), POLLIN, 0});
    for (std::size_t i = 1; i < waiting.size(); ++i) {
      if (waiting[i].fd < 0 || waiting[i].revents == 0) continue;
      std::array<char, 4096> buffer{};
      const ssize_t length = ::read(waiting[i].fd, buffer.data(), buffer.size());
      if (length > 0 && ::send(waiting[i].fd, buffer.data(), static_cast<std::size_t>(length), MSG_NOSIGNAL) == length)
        continue;
      ::close(waiting[i].fd);
      waiting[i].fd = -1;
    }
    std::erase_if(waiting, [](const pollfd& one) { return one.fd < 0; });
  }
  ::_exit(1);
}

std::set<int> open_numbers() {
  std::set<int> numbers;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int number = std::stoi(entry.path().filename());
    if (::fcntl(number, F_GETFD) >= 0) numbers.insert(number);
  }
  // The listing's own is closed by now.
  std::erase_if(numbers, [](int number) { return ::fcntl(number, F_GETFD) < 0; });
  return numbers;
}

std::string pass(int socket, const std::string& text) {
  if (::send(socket, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
    return fmt::format("send '{}' on {}: {}", text, socket, std::strerror(errno));
  std::array<char, 256> buffer{};
  const ssize_t length = ::recv(socket, buffer.data(), text.size(), MSG_WAITALL);
  const std::string received(buffer.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  return received == text ? std::string() : fmt::format("'{}' sent on {}, '{}' received", text, socket, received);
}

}  // namespace

EchoServer::EchoServer() {
  const int listener = listen_anywhere();
  name_ = name_of_listener(listener);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    echo(listener);
  }
  ::close(listener);
}

EchoServer::~EchoServer() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

CheckpointOutcome NativeFromOutside::checkpoint(pid_t /*pid*/, SnapshotSink& sink,
                                                const CheckpointOptions& /*options*/) {
  std::string request = "picture";
  for (const int number : expendable()) request += " " + std::to_string(number);
  checked(::send(kChannel, request.data(), request.size(), MSG_NOSIGNAL), "asking for a picture");
  char answer = 0;
  // This call is interrupted by the picture, and made again in the restarted program.
  if (checked(::read(kChannel, &answer, 1), "hearing of the picture") != 1) fail(ErrorKind::Failed, "nobody answers");
  sink.commit({});
  CheckpointOutcome outcome;
  outcome.state = answer == 'R' ? State::Restart : State::Continue;
  return outcome;
}

RestartedProgram NativeFromOutside::restart(Snapshot& /*snapshot*/, const RestartOptions& /*options*/) {
  fail(ErrorKind::Failed, "only from outside");
}

EchoLayer::EchoLayer(std::string name, Shape shape, std::string server, Ledger& ledger)
    : name_(std::move(name)), shape_(shape), server_(std::move(server)), ledger_(ledger) {}

int EchoLayer::hold(int number) {
  held_.push_back(ledger_.claim(number, name_));
  return number;
}

void EchoLayer::open(int more_connections) {
  hold(listen_anywhere());
  for (int index = 0; index <= shape_.connections + more_connections; ++index) hold(connect_to(server_));
  // T10: each duplicate is a number of its own.
  if (held_.size() > 2) hold(checked(::dup(held_.back().number), "dup"));
  start_reader();
}

// Nothing is ever sent to it: it reads until its connection ends.
void EchoLayer::start_reader() {
  reader_ = std::thread([this, number = held_[1].number] {
    std::array<char, 64> buffer{};
    const ssize_t length = ::read(number, buffer.data(), buffer.size());
    reader_saw_ = length > 0 ? std::string(buffer.data(), static_cast<std::size_t>(length)) : std::string();
  });
}

void EchoLayer::join_reader() {
  if (!reader_.joinable()) return;
  reader_.join();
  if (!reader_saw_.empty()) problem_ = name_ + ": the reader read '" + reader_saw_ + "'";
}

void EchoLayer::release() {
  // A dead socket has told the reader.
  join_reader();
  for (const Claim& claim : held_) {
    if (!ledger_.close(claim)) problem_ = fmt::format("{}: {} is not its own any more", name_, claim.number);
  }
  held_.clear();
}

void EchoLayer::end() {
  if (held_.size() > 1) ::shutdown(held_[1].number, SHUT_RDWR);
  release();
}

Answer EchoLayer::notify(State state) {
  if (state == State::RestartPre) release();
  if (state == State::Restart) open(shape_.extra_after_restart);
  return Answer::Done;
}

std::vector<int> EchoLayer::numbers() const {
  std::vector<int> numbers;
  for (const Claim& claim : held_) numbers.push_back(claim.number);
  return numbers;
}

std::string EchoLayer::exchange(int count) const {
  if (!problem_.empty()) return problem_;
  for (std::size_t i = 2; i < held_.size(); ++i) {
    for (int index = 0; index < count; ++index) {
      const std::string problem = pass(held_[i].number, fmt::format("{}.{}.{}", name_, i, index));
      if (!problem.empty()) return name_ + ": " + problem;
    }
  }
  const FileDescriptor visitor(connect_to(name_of_listener(held_[0].number)));
  const FileDescriptor accepted(checked(::accept(held_[0].number, nullptr, nullptr), "accept"));
  const bool greeted = ::write(visitor.get(), "hello", 5) == 5;
  std::array<char, 8> buffer{};
  return greeted && ::read(accepted.get(), buffer.data(), buffer.size()) == 5 ? "" : name_ + ": nobody can visit it";
}

namespace {

// The lowest layer: an event loop with a wake-up channel, whose header must never be torn.
class LoopLayer : public Layer {
 public:
  static constexpr int kHeader = 36;
  LoopLayer() {
    checked(::pipe(ends_.data()), "pipe");
    epoll_ = checked(::epoll_create1(0), "epoll_create1");
    epoll_event event{};
    event.events = EPOLLIN;
    checked(::epoll_ctl(epoll_, EPOLL_CTL_ADD, ends_[0], &event), "epoll_ctl");
  }
  ~LoopLayer() override {
    for (const int number : {ends_[0], ends_[1], epoll_}) ::close(number);
  }
  LoopLayer(const LoopLayer&) = delete;
  LoopLayer& operator=(const LoopLayer&) = delete;
  Answer notify(State state) override {
    if (state == State::Checkpoint) wake();
    return Answer::Done;
  }
  void wake() {
    const std::string header(kHeader, static_cast<char>('A' + count_++ % 26));
    checked(::write(ends_[1], header.data(), header.size()), "waking");
  }
  // The header of before the snapshot is whole, and a new one wakes the loop.
  std::string turn() {
    std::string problem = take();
    if (!problem.empty()) return problem;
    wake();
    return take();
  }

 private:
  std::string take() {
    epoll_event event{};
    if (::epoll_wait(epoll_, &event, 1, kPatience) != 1) return "the loop is not woken";
    std::array<char, 64> buffer{};
    const ssize_t length = ::read(ends_[0], buffer.data(), buffer.size());
    const std::string expected(kHeader, static_cast<char>('A' + (count_ - 1) % 26));
    if (length != kHeader || std::string(buffer.data(), kHeader) != expected) return "the header is not whole";
    return ::epoll_wait(epoll_, &event, 1, 0) == 0 ? "" : "the loop is woken twice";
  }
  std::array<int, 2> ends_{};
  int epoll_ = -1;
  int count_ = 0;
};

class NowhereAtAll : public SnapshotPlace, public SnapshotSink {
 public:
  SnapshotSink& sink() override { return *this; }
  std::string reference() const override { return "test@1"; }
  const std::string& location() const override { return location_; }
  void commit(const SnapshotContents& /*contents*/) override {}

 private:
  std::string location_ = "/nowhere";
};

// The life of the program: it asks for a snapshot, and says what has become of its layers; for ever.
[[noreturn]] void live(Layout layout, int messages, const std::string& server) {
  const Service* itself = nullptr;
  NativeFromOutside module(itself);
  Capabilities capabilities;
  // As the component native declares it to a program: those sockets that layers own come back dead, at their numbers.
  capabilities.process_ids = capabilities.threads = capabilities.pipes = capabilities.files = true;
  capabilities.local_sockets = capabilities.dead_sockets = capabilities.other_processes = true;
  Service service(module, capabilities, [] { return std::make_unique<NowhereAtAll>(); });
  itself = &service;
  LoopLayer loop;
  EchoLayer lower("lower", {1, layout == Layout::LowerOpensMore ? 1 : 0}, server, service.ledger());
  EchoLayer upper("upper", {2, 0}, server, service.ledger());
  module.expendable = [&] {
    std::vector<int> numbers = lower.numbers();
    for (const int number : upper.numbers()) numbers.push_back(number);
    return numbers;
  };
  const auto first = service.register_layer("loop", loop);
  const auto second = service.register_layer("lower", lower);
  const auto third = service.register_layer("upper", upper);
  (layout == Layout::UpperFirst ? upper : lower).open();
  if (layout == Layout::LogInBetween) checked(::open("/dev/null", O_RDONLY), "a log");
  (layout == Layout::UpperFirst ? lower : upper).open();
  std::size_t others = open_numbers().size() - module.expendable().size();
  while (true) {
    std::string verdict;
    State state = State::Error;
    try {
      state = service.checkpoint().state;
      for (const EchoLayer* layer : {&lower, &upper}) {
        if (verdict.empty()) verdict = layer->exchange(messages);
      }
      if (verdict.empty()) verdict = loop.turn();
    } catch (const std::exception& problem) {
      verdict = problem.what();
    }
    if (verdict.empty() && open_numbers().size() != others + module.expendable().size()) verdict = "descriptors leaked";
    const std::string says = fmt::format("{}: {}", name_of(state), verdict);
    if (::send(kChannel, says.data(), says.size(), MSG_NOSIGNAL) < 0) ::_exit(1);
    // Until the next round.
    char go = 0;
    if (::read(kChannel, &go, 1) != 1) ::_exit(0);
  }
}

class Directory : public SnapshotSink {
 public:
  explicit Directory(std::string path) : path_(std::move(path)) {}
  const std::string& location() const override { return path_; }
  void commit(const SnapshotContents& /*contents*/) override {}

 private:
  std::string path_;
};

std::pair<FileDescriptor, FileDescriptor> make_channel() {
  std::array<int, 2> ends{};
  checked(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), "socketpair");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

}  // namespace

Subject::Subject(Layout layout, int messages, const std::string& server)
    : directory_(std::filesystem::temp_directory_path() / "crs-layers-XXXXXX") {
  if (::mkdtemp(directory_.data()) == nullptr) fail_errno(errno, "cannot make {}", directory_);
  auto [mine, theirs] = make_channel();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(theirs.get(), kChannel);
    ::close_range(3, kChannel - 1, 0);
    ::close_range(kChannel + 1, ~0U, 0);
    try {
      live(layout, messages, server);
    } catch (const std::exception& problem) {
      ::dprintf(STDERR_FILENO, "the program failed: %s\n", problem.what());
    }
    ::_exit(1);
  }
  channel_ = std::move(mine);
}

Subject::~Subject() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::string Subject::hear() {
  pollfd ready{channel_.get(), POLLIN, 0};
  if (::poll(&ready, 1, kPatience) != 1) return "the program says nothing";
  std::array<char, 4096> buffer{};
  const ssize_t length = ::read(channel_.get(), buffer.data(), buffer.size());
  return length > 0 ? std::string(buffer.data(), static_cast<std::size_t>(length)) : "the program ended";
}

std::string Subject::round(bool kill, int inherited) {
  std::istringstream request(hear());
  std::string word;
  request >> word;
  if (word != "picture") return "instead of asking: " + request.str();
  CheckpointOptions options;
  for (int number = 0; request >> number;) options.expendable.push_back(number);
  options.channel = kChannel;
  if (kill) options.after = AfterCheckpoint::Kill;
  std::filesystem::remove_all(directory_);
  std::filesystem::create_directory(directory_);
  Directory sink(directory_);
  engine::checkpoint(pid_, sink, options);
  if (kill) {
    ::waitpid(pid_, nullptr, 0);
    std::vector<FileDescriptor> more;
    for (int i = 0; i < inherited; ++i) more.emplace_back(checked(::open("/dev/null", O_RDWR), "one more"));
    auto [mine, theirs] = make_channel();
    RestartOptions restart;
    restart.channel = theirs.get();
    Snapshot snapshot;
    snapshot.location = directory_;
    pid_ = engine::restart(snapshot, restart).wait_pid;
    channel_ = std::move(mine);
  }
  checked(::write(channel_.get(), kill ? "R" : "C", 1), "telling the program");
  const std::string says = hear();
  checked(::write(channel_.get(), "G", 1), "letting the program go on");
  const std::string expected = fmt::format("{}: ", name_of(kill ? State::Restart : State::Continue));
  return says == expected ? "" : says;
}

}  // namespace crs::testing
