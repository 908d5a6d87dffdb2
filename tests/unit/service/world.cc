#include "service/world.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace crs::testing {
namespace {

constexpr int kPeersFrom = 400;  // within the usual limit of 1024 descriptors

int checked(int result, const char* what) {
  if (result < 0) fail_errno(errno, "{}", what);
  return result;
}

int out_of_the_way(int number) {
  const int high = checked(::fcntl(number, F_DUPFD_CLOEXEC, kPeersFrom), "fcntl(F_DUPFD)");
  ::close(number);
  return high;
}

// A listener with a name that the kernel chose (unix(7), "Autobind feature").
int listen_anywhere() {
  const int number = checked(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  checked(::bind(number, reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), "bind");
  checked(::listen(number, 64), "listen");
  return number;
}

std::string name_of_listener(int number) {
  sockaddr_un address{};
  socklen_t length = sizeof address;
  if (::getsockname(number, reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
  return {address.sun_path, length - offsetof(sockaddr_un, sun_path)};
}

int connect_to(const std::string& name) {
  const int number = checked(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  if (::connect(number, reinterpret_cast<sockaddr*>(&address), length) != 0) {
    ::close(number);
    return -1;
  }
  return number;
}

// Sends a text from one end to the other: what went wrong, or "".
std::string pass(int from, int to, const std::string& text) {
  if (::send(from, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) != static_cast<ssize_t>(text.size())) {
    return fmt::format("send '{}' on {}: {}", text, from, std::strerror(errno));
  }
  std::array<char, 256> buffer{};
  const ssize_t length = ::recv(to, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (length < 0) return fmt::format("receive '{}' on {}: {}", text, to, std::strerror(errno));
  const std::string received(buffer.data(), static_cast<std::size_t>(length));
  return received == text ? std::string() : fmt::format("'{}' sent, '{}' received", text, received);
}

}  // namespace

Peers::Peers() : listener_(out_of_the_way(listen_anywhere())) { name_ = name_of_listener(listener_); }

Peers::~Peers() {
  ::close(listener_);
  for (const auto& [tag, number] : ends_) ::close(number);
}

int Peers::connect(std::string tag) {
  const int number = checked(connect_to(name_), "connect");
  ends_.emplace(std::move(tag),
                out_of_the_way(checked(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC), "accept4")));
  return number;
}

int Peers::peer_of(const std::string& tag) const {
  const auto found = ends_.find(tag);
  return found == ends_.end() ? -1 : found->second;
}

SocketLayer::SocketLayer(std::string name, Shape shape, Order order, Peers& peers, Ledger& ledger, Trace& trace)
    : name_(std::move(name)), shape_(shape), order_(order), peers_(peers), ledger_(ledger), trace_(trace) {}

SocketLayer::~SocketLayer() {
  for (const Held& held : held_) {
    if (!held.claim) {
      ::close(held.number);
    } else if (ledger_.owner_of(held.number) == name_) {
      ledger_.end_use(*held.use);
      ledger_.close(*held.claim);
    }
  }
}

SocketLayer::Held SocketLayer::hold(int number, std::string tag) {
  Held held{number, std::nullopt, std::move(tag), std::nullopt};
  if (order_ == Order::Ledger) {
    held.claim = ledger_.claim(number, name_);
    held.use = ledger_.add_use(*held.claim, "the poll set of " + name_);
  }
  return held;
}

void SocketLayer::open(int more_connections) {
  open_ = true;
  ++opened_;
  if (shape_.listens) held_.push_back(hold(listen_anywhere(), "listener"));
  for (int index = 0; index < shape_.connections + more_connections; ++index) {
    std::string tag = fmt::format("{}.{}.{}", name_, opened_, index);
    held_.push_back(hold(peers_.connect(tag), tag));
  }
}

// On the way it tries what the ledger must not let happen.
void SocketLayer::release_by_ledger(const Held& held) {
  const auto must_fail = [&](const char* defect) {
    try {
      ledger_.close(*held.claim);
      if (defect_.empty()) defect_ = fmt::format("{}: {}", name_, defect);
    } catch (const Error&) {  // as it should be
    }
  };
  const bool mine = ledger_.is_mine(*held.claim);
  if (ledger_.is_usable(*held.use) != mine && defect_.empty())
    defect_ = name_ + ": a use stands, and its claim does not";
  if (mine) must_fail("a number that somebody reads through was closed");
  ledger_.end_use(*held.use);
  ledger_.close(*held.claim);
  must_fail("a claim of an older generation was acted on");
}

void SocketLayer::release() {
  trace_.push_back("release " + name_);
  open_ = false;
  for (const Held& held : held_) {
    if (held.claim) {
      release_by_ledger(held);
    } else {
      ::close(held.number);
    }
  }
  held_.clear();
}

void SocketLayer::acquire() {
  trace_.push_back("acquire " + name_);
  open(shape_.extra_after_restart);
}

Answer SocketLayer::notify(State state) {
  told_.push_back(state);
  switch (state) {
    case State::Checkpoint:
      if (std::exchange(fails_next_, false)) fail(ErrorKind::Failed, "{} was told to fail", name_);
      return shape_.reopens_on_continue ? Answer::Reopen : Answer::Done;
    case State::RestartPre:
      if (order_ != Order::Old) release();
      return Answer::Done;
    case State::Restart:
      if (order_ == Order::Old) release();
      acquire();
      return Answer::Done;
    default:
      return Answer::Done;
  }
}

std::vector<int> SocketLayer::numbers() const {
  std::vector<int> numbers;
  for (const Held& held : held_) numbers.push_back(held.number);
  return numbers;
}

std::string SocketLayer::exchange_on(const Held& held, int count) const {
  const int peer = peers_.peer_of(held.tag);
  for (int index = 0; index < count; ++index) {
    std::string problem = pass(held.number, peer, fmt::format("{} to peer {}", held.tag, index));
    if (problem.empty()) problem = pass(peer, held.number, fmt::format("peer to {} {}", held.tag, index));
    if (!problem.empty()) return name_ + ": " + problem;
  }
  return {};
}

std::string SocketLayer::accept_one() const {
  const int visitor = connect_to(name_of_listener(held_.front().number));
  if (visitor < 0) return fmt::format("{}: nobody listens on {}", name_, held_.front().number);
  const int accepted = ::accept4(held_.front().number, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  const std::string problem = accepted < 0 ? std::string("cannot accept") : pass(visitor, accepted, "hello");
  if (accepted >= 0) ::close(accepted);
  ::close(visitor);
  return problem.empty() ? problem : name_ + ": " + problem;
}

std::string SocketLayer::exchange(int count) const {
  if (!defect_.empty()) return defect_;
  if (!open_) return name_ + " is not open";
  for (const Held& held : held_) {
    const std::string problem = held.tag == "listener" ? accept_one() : exchange_on(held, count);
    if (!problem.empty()) return problem;
  }
  return {};
}

void SocketLayer::send_tags() const {
  for (const Held& held : held_) {
    if (held.tag != "listener") ::send(held.number, held.tag.data(), held.tag.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

std::string SocketLayer::misdirected() const {
  for (const Held& held : held_) {
    std::array<char, 256> buffer{};
    const ssize_t length = ::recv(peers_.peer_of(held.tag), buffer.data(), buffer.size(), MSG_DONTWAIT);
    const std::string received(buffer.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
    if (!received.starts_with(name_) && !received.empty())
      return fmt::format("'{}' at the peer of {}", received, held.tag);
    if (received.size() > held.tag.size()) return fmt::format("'{}' at the peer of {}", received, held.tag);
  }
  return {};
}

CheckpointOutcome PretendedModule::checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) {
  static_cast<void>(pid);
  excluded = options.exclude;
  CheckpointOutcome outcome;
  outcome.state = happen();
  sink.commit({});
  return outcome;
}

RestartedProgram PretendedModule::restart(Snapshot& snapshot, const RestartOptions& options) {
  static_cast<void>(options);
  fail(ErrorKind::Failed, "{} was only pretended", snapshot.reference);
}

MakeSnapshotPlace counting_places() {
  class Place : public SnapshotPlace, public SnapshotSink {
   public:
    explicit Place(std::shared_ptr<int> last) : last_(std::move(last)) {}
    SnapshotSink& sink() override { return *this; }
    std::string reference() const override { return reference_; }
    const std::string& location() const override { return location_; }
    void commit(const SnapshotContents& contents) override {
      static_cast<void>(contents);
      reference_ = fmt::format("test@{}", ++*last_);
    }

   private:
    std::shared_ptr<int> last_;
    std::string reference_;
    std::string location_ = "/nowhere";
  };
  return [last = std::make_shared<int>(0)] { return std::make_unique<Place>(last); };
}

std::set<int> open_numbers() {
  std::set<int> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc/self/fd"), ::closedir);
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] != '.') numbers.insert(std::stoi(entry->d_name));
  }
  numbers.erase(::dirfd(directory.get()));
  return numbers;
}

void lose_sockets(const std::vector<int>& numbers) {
  for (const int number : numbers) ::close(number);
}

}  // namespace crs::testing
