// The messages between a program with a service, the crs that takes its snapshot (the taker), and the crs that restarts
// it. Each is a value with to_message(), and read back by from<Type>(), which throws an Error that names what is
// missing or wrong: what comes from another process is hostile until checked.
//
//   program -> taker: Begin       taker -> program: Location
//   then           Commit                           Committed      the component writes its files in the program
//   or             Picture                          Outcome        the taker's engine takes the picture
//   at the end     Layers; instead of any answer a Failure
//   restarter -> program: Restarted; program -> restarter: Layers
//   program -> a crs that it started for a restart: nothing; crs -> program: RestartDone, or a Failure
//   asker -> program: Request; program -> asker: Progressed, and then, as to a taker, the messages above; or a Failure
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "crs/component.hpp"
#include "crs/error.hpp"
#include "crs/service.hpp"
#include "wire/frame.h"

namespace crs::wire {

// A snapshot is to be made.
struct Begin {
  static constexpr const char* kType = "begin";
  std::string component;
  std::string component_version;
  InterfaceVersion interface_version;
  // The job's name where the program knows it from its restart, or has chosen it; "" otherwise.
  std::string job;
  std::vector<LayerTime> layers;  // so far
  pid_t pid = 0;                  // whose picture it is to be: 0, the program's own, or another process's
};

// Where its files go, and what it will be called.
struct Location {
  static constexpr const char* kType = "location";
  std::string location;
  std::string reference;
  std::string final_location;  // when it is complete
};

struct Commit {
  static constexpr const char* kType = "commit";
  SnapshotContents contents;
  // Of a program that ends with its checkpoint: how long its layers may take with that; an older libcrs does not say.
  std::optional<std::chrono::nanoseconds> end_limit{};
};

struct Committed {
  static constexpr const char* kType = "committed";
};

struct Picture {
  static constexpr const char* kType = "picture";
  AfterCheckpoint after = AfterCheckpoint::Continue;
  std::vector<std::string> leave_out;
  std::vector<MemoryRange> exclude;
  std::vector<int> expendable;
  int channel = -1;
  // As in CheckpointOptions: they count where whoever asked the taker did not say.
  bool single = false;
  TcpPolicy tcp = TcpPolicy::Reset;
  bool incremental = false;
  std::string compression{};
  std::uint64_t write_limit = 0;
  std::vector<std::string> files{};
  // How long the layers of a program that is to end may take with that; an older libcrs does not say.
  std::optional<std::chrono::nanoseconds> time_limit{};
};

struct Outcome {
  static constexpr const char* kType = "outcome";
  State state = State::Continue;  // or Term
  std::uint64_t pause_nanoseconds = 0;
};

struct Failure {
  static constexpr const char* kType = "failure";
  Error error{ErrorKind::Failed, ""};
};

struct Layers {
  static constexpr const char* kType = "layers";
  std::vector<LayerTime> times;  // of the whole round
  std::vector<std::string> failures;
  // The program's component works inside it and cannot leave it stopped: that is up to the taker, and comes now.
  bool stop = false;
  // The same of a program that ends with its checkpoint, with all of its processes.
  bool end = false;
};

struct Restarted {
  static constexpr const char* kType = "restarted";
  RestartNews news;
};

// A crs that was asked for a restart has done it.
struct RestartDone {
  static constexpr const char* kType = "restart done";
  pid_t pid = 0;  // the program's; 0: it was only checked whether it can be restarted
  std::string reference;
  std::string component;
};

struct Request {
  static constexpr const char* kType = "request";
  AfterCheckpoint after = AfterCheckpoint::Continue;
  std::chrono::nanoseconds time_limit{0};
  std::vector<std::string> leave_out;
  std::vector<MemoryRange> exclude;
};

struct Progressed {
  static constexpr const char* kType = "progress";
  Progress progress;
};

Message to_message(const Begin& value);
Message to_message(const Location& value);
Message to_message(const Commit& value);
Message to_message(const Committed& value);
Message to_message(const Picture& value);
Message to_message(const Outcome& value);
Message to_message(const Failure& value);
Message to_message(const Layers& value);
Message to_message(const Restarted& value);
Message to_message(const RestartDone& value);
Message to_message(const Request& value);
Message to_message(const Progressed& value);

template <typename Type>
Type from(const Message& message);

// Of a message that decode() gave.
std::string type_of(const Message& message);

template <typename Type>
bool is(const Message& message) {
  return type_of(message) == Type::kType;
}

// The answer that is wanted. A Failure in its place is thrown as the Error that it carries; anything else is an Error
// that names both.
template <typename Type>
Type expect(const Message& message) {
  if (!is<Type>(message) && is<Failure>(message)) throw from<Failure>(message).error;
  return from<Type>(message);
}

}  // namespace crs::wire
