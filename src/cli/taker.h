// The taker of a snapshot, for a program whose service has told its layers: makes the snapshot in the store, takes the
// picture where the program's component wants one, and answers over a connection (wire/messages.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/context.h"
#include "cli/program_tree.h"
#include "store/snapshot_writer.h"
#include "wire/connection.h"
#include "wire/messages.h"

namespace crs::cli {

// How the snapshot is written: as in CheckpointOptions.
struct Storing {
  std::string compression;
  std::uint64_t write_limit = 0;
  bool incremental = false;
  bool single = false;
  std::vector<std::string> files;
};

// Whose snapshot it is, and what the asker wants beside what the program says.
struct TakerOptions {
  pid_t pid = 0;
  std::string job;                                                  // "": found by the process, or as the program says
  std::chrono::milliseconds wait_limit = std::chrono::minutes(10);  // for another checkpoint of the job
  // How long the layers of a program that is to end may take with that; empty: as long as the program says.
  std::optional<std::chrono::nanoseconds> end_limit{};
  TcpPolicy tcp = TcpPolicy::Reset;
  std::function<void(const std::string&)> progress;  // one line for a person; may be empty
  Storing storing{};
  // The program may name another process. Only for one that started this crs itself and has its rights: what it asks
  // for it could do itself.
  bool others = false;
};

class Taker {
 public:
  // Context and connection outlive the object.
  Taker(Context& context, wire::Connection& connection, TakerOptions options);

  // Answers one message of the program's. A failure is told to the program, and thrown.
  void handle(const wire::Message& message);
  // In place of what the program would say of its layers: why it does not.
  void note_unheard(std::string why) { finish({.times = {}, .failures = {std::move(why)}}); }
  // The same. Ends it.
  void end_unheard(std::string why) { finish({.times = {}, .failures = {std::move(why)}, .end = true}); }

  // Whether the program has ended, and not only what it was connected with.
  bool program_has_ended() const { return program_.root_has_ended(); }

  // Once the program has sent what its layers needed there is nothing more to come.
  const std::optional<wire::Layers>& layers() const noexcept { return layers_; }
  // Whether the program was to end and has been ended.
  bool has_ended_program() const noexcept { return ends_program_ || (layers_ && layers_->end); }
  const SnapshotWriter* writer() const noexcept { return writer_.get(); }
  // The picture is taken here, and so is what becomes of the program afterwards.
  bool pictures() const noexcept { return pictures_; }
  bool committed() const noexcept { return writer_ != nullptr && writer_->committed(); }
  // Of a program that saved itself and is about to end: until when its layers may take with that, if it says so.
  std::optional<std::chrono::steady_clock::time_point> end_by() const noexcept { return end_by_; }

 private:
  void begin(const wire::Begin& begin);
  void commit(const wire::Commit& commit);
  void picture(const wire::Picture& picture);
  void finish(const wire::Layers& layers);
  void end_program(std::chrono::nanoseconds limit);
  void end_all();
  wire::Layers layers_at_end(std::chrono::nanoseconds limit);
  SnapshotWriter& begun();

  Context& context_;
  wire::Connection& connection_;
  TakerOptions options_;
  ProgramTree program_;
  std::string component_;
  std::unique_ptr<SnapshotWriter> writer_;
  bool ends_program_ = false;
  bool pictures_ = false;
  std::optional<std::chrono::steady_clock::time_point> end_by_;
  bool is_other_ = false;  // the picture is not of the process at the other end
  std::optional<wire::Layers> layers_;
};

}  // namespace crs::cli
