// A ring of processes that pass tokens on, each adding one to the value. Any of them may be killed and started again
// from an earlier snapshot while the others go on: no token is lost and none is passed on twice.
//
//   ring STATION PORT...       one process a station, 0 to N-1, with the ports of all of them
//
// SIGUSR1 makes a station take a snapshot of itself. SIGTERM to station 0 ends the ring.
//
// Why nothing is lost: a station that goes back to a snapshot forgets what it received since. So it acknowledges a
// token only when a snapshot holds it, and the station before keeps, and sends again over a new connection, whatever is
// not acknowledged. Why nothing is doubled: tokens are numbered, and a station that went back sends the same tokens
// under the same numbers, which the next one has seen. (It must send the same ones: a station does nothing that depends
// on more than the tokens it received.)
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <vector>

#include "connections.h"

namespace {

volatile sig_atomic_t snapshot_wanted = 0;
volatile sig_atomic_t end_wanted = 0;

constexpr std::uint64_t kTokens = 4;
constexpr std::uint64_t kLast = UINT64_MAX;  // the value of the token that ends the ring

class Station : public crs::Layer {
 public:
  Station(std::uint64_t number, std::uint64_t stations, ring::Connections& connections)
      : number_(number), stations_(stations), connections_(connections) {
    if (number_ == 0) {
      for (std::uint64_t i = 0; i < kTokens; ++i) pass_on(0);
    }
  }

  // The upper layer: told before the connections at a checkpoint, and after them when they are back.
  crs::Answer notify(crs::State state) override {
    switch (state) {
      case crs::State::Checkpoint:
        prepared_ = received_;
        break;
      case crs::State::Continue:
      case crs::State::Restart:
        held_ = prepared_;  // there is a snapshot that holds them
        break;
      default:
        break;
    }
    return crs::Answer::Done;
  }

  // Until the last token has come round.
  void run() {
    while (!last_came_ || !unacknowledged_.empty()) {
      if (snapshot_wanted != 0) take_snapshot();
      if (end_wanted != 0) {
        end_wanted = 0;
        ending_ = true;
      }
      connections_.wait(10);
      // A checkpoint that is asked for from outside is another thread's: it waits until nothing is half done.
      const crs::CriticalScope section;
      receive();
      send();
    }
    std::printf("station %llu: %llu tokens, none lost, none doubled\n", ull(number_), ull(received_));
  }

 private:
  static unsigned long long ull(std::uint64_t number) { return number; }

  void pass_on(std::uint64_t value) { unacknowledged_.push_back({++passed_on_, value}); }

  void send() {
    if (connection_ != connections_.connected()) {
      connection_ = connections_.connected();
      next_to_send_ = 0;  // of what the other side may have received, too
    }
    while (const auto number = connections_.receive_acknowledgement()) {
      while (!unacknowledged_.empty() && unacknowledged_.front().number <= *number) {
        unacknowledged_.pop_front();
        if (next_to_send_ > 0) --next_to_send_;
      }
    }
    while (next_to_send_ < unacknowledged_.size() && connections_.send(unacknowledged_[next_to_send_])) {
      ++next_to_send_;
    }
  }

  void receive() {
    while (const auto token = connections_.receive()) {
      if (token->number <= received_) continue;  // the station before went back to a snapshot
      if (token->number != received_ + 1) {
        std::fprintf(stderr, "station %llu: token %llu after %llu\n", ull(number_), ull(token->number), ull(received_));
        std::exit(1);
      }
      ++received_;
      handle(*token);
    }
    if (acknowledged_ < held_ || acceptance_ != connections_.accepted()) {
      acceptance_ = connections_.accepted();
      if (connections_.acknowledge(held_)) acknowledged_ = held_;
    }
  }

  void handle(const ring::Token& token) {
    if (token.value == kLast) {
      if (number_ != 0) pass_on(kLast);
      held_ = received_;  // nobody goes back any more
      last_came_ = true;
      return;
    }
    // Each has been at every station once more.
    if (number_ == 0 && token.value % stations_ != stations_ - 1) {
      std::fprintf(stderr, "a token comes back with value %llu\n", ull(token.value));
      std::exit(1);
    }
    if (number_ == 0 && received_ % (kTokens * 1000) == 0) {
      std::printf("%llu rounds\n", ull(received_ / kTokens));
      std::fflush(stdout);
    }
    if (!ending_) return pass_on(token.value + 1);
    if (++retired_ == kTokens) pass_on(kLast);
  }

  void take_snapshot() {
    snapshot_wanted = 0;
    const crs::Checkpointed outcome = crs::checkpoint();
    if (outcome.state == crs::State::Restart) {
      std::printf("station %llu is back from %s\n", ull(number_), outcome.reference.c_str());
    } else {
      std::printf("station %llu: %s\n", ull(number_), outcome.reference.c_str());
    }
    std::fflush(stdout);
  }

  std::uint64_t number_;
  std::uint64_t stations_;
  ring::Connections& connections_;

  std::deque<ring::Token> unacknowledged_;
  std::size_t next_to_send_ = 0;
  std::uint64_t passed_on_ = 0;
  std::uint64_t connection_ = 0;

  std::uint64_t received_ = 0;
  std::uint64_t prepared_ = 0;      // of them, when the last snapshot was being made
  std::uint64_t held_ = 0;          // of them, in a snapshot
  std::uint64_t acknowledged_ = 0;  // of them, told
  std::uint64_t acceptance_ = 0;

  bool ending_ = false;
  bool last_came_ = false;
  std::uint64_t retired_ = 0;
};

int run(const std::vector<std::string>& arguments) {
  const std::size_t stations = arguments.size() - 1;
  const std::size_t number = std::stoul(arguments.at(0));
  const auto port = [&](std::size_t station) { return std::stoi(arguments.at(1 + station % stations)); };
  crs::InitOptions options;
  options.job = "station-" + std::to_string(number);
  crs::init(options);
  // Lowest first.
  ring::Connections connections(port(number), port(number + 1));
  const crs::LayerRegistration lower = crs::register_layer("connections", connections);
  Station station(number, stations, connections);
  const crs::LayerRegistration upper = crs::register_layer("ring", station);
  station.run();
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) {
    std::fprintf(stderr, "Usage: ring STATION PORT PORT...\n");
    return 2;
  }
  struct sigaction action{};
  action.sa_handler = [](int signal) { (signal == SIGUSR1 ? snapshot_wanted : end_wanted) = 1; };
  sigaction(SIGUSR1, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  try {
    return run({arguments + 1, arguments + count});
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "ring: %s\n", problem.what());
    return 1;
  }
}
