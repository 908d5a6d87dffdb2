// A program of layers with sockets whose service is asked for snapshots that the real engine takes, from another
// process; and that process, which kills and restarts it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"
#include "crs/service.hpp"

namespace crs::testing {

// A process that sends back whatever it is sent.
class EchoServer {
 public:
  EchoServer();
  ~EchoServer();
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;
  // In the abstract namespace of unix sockets.
  const std::string& name() const noexcept { return name_; }

 private:
  std::string name_;
  pid_t pid_ = 0;
};

// --- In the program ---

// What the program hears from whoever takes its snapshots: at the same number before and after a restart.
inline constexpr int kChannel = 200;

// The component `native` as a program sees it: somebody else takes the picture, while the caller waits for what becomes
// of it in a read of the channel.
class NativeFromOutside : public Module {
 public:
  explicit NativeFromOutside(const Service* const& service) : service_(service) {}
  CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) override;
  RestartedProgram restart(Snapshot& snapshot, const RestartOptions& options) override;
  // The numbers that layers reopen by themselves.
  std::function<std::vector<int>()> expendable;

 private:
  const Service* const& service_;
};

// A layer with a listener and connections to the echo server, and a thread that waits in a read of one more.
class EchoLayer : public Layer {
 public:
  struct Shape {
    int connections = 1;
    int extra_after_restart = 0;
  };
  EchoLayer(std::string name, Shape shape, std::string server, Ledger& ledger);
  void open(int more_connections = 0);
  Answer notify(State state) override;
  // Messages there and back over every connection, and a visitor for the listener. What went wrong first, or "".
  std::string exchange(int count) const;
  std::vector<int> numbers() const;
  const std::string& problem() const noexcept { return problem_; }
  void end();

 private:
  int hold(int number);
  void release();
  void start_reader();
  void join_reader();

  std::string name_;
  Shape shape_;
  std::string server_;
  Ledger& ledger_;
  std::vector<Claim> held_;  // the listener, the reader's connection, the others
  std::thread reader_;
  std::string reader_saw_;
  std::string problem_;
};

// --- In the test ---

enum class Layout { LowerFirst, UpperFirst, LowerOpensMore, LogInBetween };

// One program in the hands of a test.
class Subject {
 public:
  Subject(Layout layout, int messages, const std::string& server);
  ~Subject();
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  // The program asks for a snapshot, goes on from it or (`kill`) is killed and restarted while this process holds
  // `inherited` more descriptors; what it then says of its layers: "" if all is well.
  std::string round(bool kill, int inherited);

 private:
  std::string hear();
  std::string directory_;
  FileDescriptor channel_;
  pid_t pid_ = 0;
};

}  // namespace crs::testing
