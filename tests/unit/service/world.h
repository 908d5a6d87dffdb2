// A program of several layers with sockets, its peers, and a checkpointer that only pretends: a restart is the loss of
// every socket that the layers held, as after a real one. Sockets are unix stream sockets: what is written is there to
// be read at once.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "crs/service.hpp"

namespace crs::testing {

// How a layer behaves at a restart. The first two are the negative controls.
enum class Order {
  Old,           // close what is recorded and reopen, when it is one's turn, lowest layer first
  BlindRelease,  // release (RestartPre) and acquire (Restart) apart, but closing whatever has the recorded number
  Ledger,        // the same, closing through the ledger
};

// The far ends of the program's connections. They lie at high numbers, out of the way of the numbers that this is
// about.
class Peers {
 public:
  Peers();
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // A new connection: the program's end has the lowest free number; the peer's end is remembered under it.
  int connect(std::string tag);
  // The peer's end of the connection that the program made as `tag`, or -1.
  int peer_of(const std::string& tag) const;

 private:
  std::string name_;
  int listener_ = -1;
  std::map<std::string, int> ends_;
};

// What a layer does, in order: "release NAME", "acquire NAME".
using Trace = std::vector<std::string>;

// A layer with one listener (or none) and some connections.
class SocketLayer : public Layer {
 public:
  struct Shape {
    int connections = 1;
    bool listens = true;
    int extra_after_restart = 0;  // connections more (or fewer) than before
    bool reopens_on_continue = false;
  };

  SocketLayer(std::string name, Shape shape, Order order, Peers& peers, Ledger& ledger, Trace& trace);
  ~SocketLayer() override;
  SocketLayer(const SocketLayer&) = delete;
  SocketLayer& operator=(const SocketLayer&) = delete;

  void open(int more_connections = 0);
  Answer notify(State state) override;

  // Sends `count` messages each way over every connection and a new connection through the listener. What went wrong
  // first, or "".
  std::string exchange(int count) const;
  // Sends one message over each connection, and afterwards: what arrived at a peer of this layer's that is not this
  // layer's, or "".
  void send_tags() const;
  std::string misdirected() const;
  const std::string& name() const noexcept { return name_; }
  // Since the last call.
  std::vector<State> take_told() { return std::exchange(told_, {}); }
  bool reopens_on_continue() const noexcept { return shape_.reopens_on_continue; }
  void fail_next() noexcept { fails_next_ = true; }
  std::vector<int> numbers() const;

 private:
  struct Held {
    int number = -1;
    std::optional<Claim> claim;
    std::string tag;
    std::optional<Use> use;  // as an entry in a poll set is one
  };

  Held hold(int number, std::string tag);
  void release();
  void release_by_ledger(const Held& held);
  void acquire();
  std::string exchange_on(const Held& held, int count) const;
  std::string accept_one() const;

  std::string name_;
  Shape shape_;
  Order order_;
  Peers& peers_;
  Ledger& ledger_;
  Trace& trace_;
  int opened_ = 0;  // makes tags unique over restarts
  bool open_ = false;
  bool fails_next_ = false;
  std::vector<Held> held_;  // the listener first
  std::vector<State> told_;
  std::string defect_;  // what the ledger let happen, first
};

// A checkpointer whose next checkpoints end as they are told to.
class PretendedModule : public Module {
 public:
  CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) override;
  RestartedProgram restart(Snapshot& snapshot, const RestartOptions& options) override;

  // What happens to the program "in the snapshot"; the state in which checkpoint() returns.
  std::function<State()> happen = [] { return State::Continue; };
  // What the last checkpoint was to leave out.
  std::vector<MemoryRange> excluded;
};

// Numbers snapshots and stores nothing.
MakeSnapshotPlace counting_places();

// The open descriptor numbers of this process.
std::set<int> open_numbers();
// Closes sockets, as a restart does with connections that it cannot bring back.
void lose_sockets(const std::vector<int>& numbers);

}  // namespace crs::testing
