#include "service/taker_place.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/io.h"
#include "service/after_fork.h"
#include "service/helper.h"
#include "service/picture_sink.h"
#include "wire/messages.h"

namespace crs {
namespace {

using Clock = std::chrono::steady_clock;

// Until an ended program is really gone.
constexpr std::chrono::seconds kLongestEnd{10};

// Tells this process from the one that a picture of it became: no two sockets of a boot have one inode, and a process
// has its start time (field 22 of proc_pid_stat(5)) for its whole life.
struct ProcessMark {
  int number;
  std::optional<DescriptorIdentity> channel;
  std::string start_time;

  explicit ProcessMark(int socket)
      : number(socket), channel(identify_descriptor(socket)), start_time(read_start_time()) {}

  // Of a mark that was made before the picture.
  bool is_of_another_process() const {
    if (channel != identify_descriptor(number)) return true;
    try {
      return start_time != read_start_time();
    } catch (const Error&) {  // no descriptor is free, say; within a boot the socket tells
      return false;
    }
  }

 private:
  static std::string read_start_time() {
    const std::string stat = read_file("/proc/self/stat", 65536);
    std::size_t place = stat.rfind(')');
    for (int field = 2; field < 22 && place != std::string::npos; ++field) place = stat.find(' ', place + 1);
    return place == std::string::npos ? std::string() : stat.substr(place, stat.find(' ', place + 1) - place);
  }
};

class TakerPlace final : public SnapshotPlace, public PictureSink {
 public:
  TakerPlace(TakenBy taken_by, std::string job, ConnectToTaker connect)
      : taken_by_(std::move(taken_by)), job_(std::move(job)), connect_(std::move(connect)) {}

  void prepared(const std::vector<LayerTime>& layers) override { layers_ = layers; }
  void limit_end(std::chrono::nanoseconds limit) override { end_limit_ = std::max(limit, {}); }
  SnapshotSink& sink() override { return *this; }
  std::string reference() const override { return complete_ ? location_.reference : ""; }
  std::string final_location() const override { return complete_ ? location_.final_location : ""; }
  std::optional<RestartNews> news() const override { return news_; }
  bool is_restarted() const override {
    const std::lock_guard lock(mark_mutex_);
    return mark_ && mark_->is_of_another_process();
  }

  const std::string& location() const override {
    begin();
    return location_.location;
  }

  void commit(const SnapshotContents& contents) override {
    begin();
    say(wire::to_message(wire::Commit{contents, end_limit_}));
    wire::expect<wire::Committed>(answer());
    complete_ = true;
  }

  CheckpointOutcome picture(pid_t pid, const CheckpointOptions& options) override;
  void stop_when_finished() override { stops_ = !pictured_; }
  void end_when_finished() override { ends_others_ = !pictured_; }
  void finished(const std::vector<LayerTime>& layers, const std::vector<std::string>& failures) override;
  // The taker does that, once the layers know. Where there is none, or an older one, it has not.
  void end_process() override { ::kill(::getpid(), SIGKILL); }

 private:
  void begin() const;
  void make_mark() {
    const std::lock_guard lock(mark_mutex_);
    mark_.emplace(connection_->number());
  }
  void say(const wire::Message& message) const;
  [[noreturn]] void fail_without_taker() const;
  wire::Received receive() const;
  wire::Message checked(wire::Received received) const;
  wire::Message answer() const;
  CheckpointOutcome outcome_of(const wire::Message& message);

  TakenBy taken_by_;
  std::string job_;
  ConnectToTaker connect_;
  std::vector<LayerTime> layers_;
  // Made at the first use, of a const member function, too.
  mutable std::shared_ptr<wire::Connection> connection_;
  mutable std::unique_ptr<ClosedAfterFork> closed_after_fork_;
  mutable wire::Location location_;
  bool complete_ = false;
  bool ends_ = false;
  bool stops_ = false;
  bool ends_others_ = false;
  bool pictured_ = false;  // the taker does with the process what is to be done
  std::optional<std::chrono::nanoseconds> end_limit_;
  pid_t subject_ = 0;  // of the picture; 0: this process
  std::optional<RestartNews> news_;
  mutable std::mutex mark_mutex_;
  std::optional<ProcessMark> mark_;  // made before a picture of this process
};

wire::Received TakerPlace::receive() const { return connection_->receive(Clock::now() + taken_by_.answer_limit); }

void TakerPlace::fail_without_taker() const {
  fail(ErrorKind::Failed, "{} ended before the snapshot was complete", connection_->peer_name());
}

// What has ended then is not the program.
void TakerPlace::say(const wire::Message& message) const {
  try {
    connection_->send(message);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::ProgramGone) throw;
    fail_without_taker();
  }
}

wire::Message TakerPlace::checked(wire::Received received) const {
  if (received.kind == wire::Received::Kind::End) fail_without_taker();
  if (received.kind == wire::Received::Kind::TimedOut) {
    connection_->shut();  // so that it commits nothing later on
    const std::chrono::duration<double> limit = taken_by_.answer_limit;
    throw Error(ErrorKind::Failed,
                fmt::format("{} has not answered within {} s", connection_->peer_name(), limit.count()))
        .advise("The parameter crs_snapshot_limit sets the time limit");
  }
  return std::move(received.message);
}

wire::Message TakerPlace::answer() const { return checked(receive()); }

void TakerPlace::begin() const {
  if (connection_ != nullptr) return;
  connection_ = connect_();
  closed_after_fork_ = std::make_unique<ClosedAfterFork>(connection_->number());
  say(wire::to_message(wire::Begin{.component = taken_by_.component,
                                   .component_version = taken_by_.component_version,
                                   .interface_version = taken_by_.interface_version,
                                   .job = job_,
                                   .layers = layers_,
                                   .pid = subject_}));
  location_ = wire::expect<wire::Location>(answer());
}

CheckpointOutcome TakerPlace::outcome_of(const wire::Message& message) {
  if (wire::is<wire::Restarted>(message)) {
    news_ = wire::from<wire::Restarted>(message).news;
    location_.reference = news_->reference;
    return {State::Restart, 0};
  }
  const auto outcome = wire::expect<wire::Outcome>(message);
  ends_ = outcome.state == State::Term;
  return {outcome.state, outcome.pause_nanoseconds};
}

CheckpointOutcome TakerPlace::picture(pid_t pid, const CheckpointOptions& options) {
  subject_ = pid;
  pictured_ = true;
  begin();
  if (pid == 0) make_mark();
  say(wire::to_message(wire::Picture{.after = options.after,
                                     .leave_out = options.leave_out,
                                     .exclude = options.exclude,
                                     .expendable = options.expendable,
                                     .channel = connection_->number(),
                                     .single = options.single,
                                     .tcp = options.tcp,
                                     .incremental = options.incremental,
                                     .compression = options.compression,
                                     .write_limit = options.write_limit,
                                     .files = options.files,
                                     .time_limit = end_limit_}));
  // The picture shows this thread in the call to poll(2) that waits for the answer. In a restarted process it goes on
  // with that call, on what was put at the number.
  wire::Message message;
  try {
    wire::Received received = receive();
    // By the clock of another boot the limit may have passed long ago.
    if (received.kind == wire::Received::Kind::TimedOut && is_restarted()) received = receive();
    message = checked(std::move(received));
  } catch (const Error&) {
    if (!is_restarted()) throw;
    // Restarted by one who has nothing to say.
    complete_ = true;
    return {State::Restart, 0};
  }
  const CheckpointOutcome outcome = outcome_of(message);
  complete_ = true;
  return outcome;
}

void TakerPlace::finished(const std::vector<LayerTime>& layers, const std::vector<std::string>& failures) {
  if (connection_ == nullptr) {
    if (stops_) ::kill(::getpid(), SIGSTOP);
    return;
  }
  try {
    connection_->send(wire::to_message(wire::Layers{layers, failures, stops_, ends_others_}));
    // Who took the snapshot ends or stops this process now.
    if (ends_ || stops_ || ends_others_) static_cast<void>(connection_->receive(Clock::now() + kLongestEnd));
  } catch (const Error&) {
    // Nobody wants to know. The snapshot is complete, or the program runs again, all the same.
  }
  closed_after_fork_.reset();
  connection_.reset();
}

}  // namespace

std::vector<std::string> environment_now(const std::optional<RestartNews>& news) {
  std::vector<std::string> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string name(text.substr(0, text.find('=')));
    if (!news || !news->environment.contains(name)) environment.emplace_back(text);
  }
  if (!news) return environment;
  for (const auto& [name, value] : news->environment) environment.push_back(fmt::format("{}={}", name, value));
  return environment;
}

std::unique_ptr<SnapshotPlace> make_taker_place(TakenBy taken_by, std::string job, ConnectToTaker connect) {
  return std::make_unique<TakerPlace>(std::move(taken_by), std::move(job), std::move(connect));
}

MakeSnapshotPlace make_helper_places(TakenBy taken_by, HelperOptions helper, std::function<const Service*()> service) {
  return [taken_by = std::move(taken_by), helper = std::move(helper), service = std::move(service)] {
    const std::optional<RestartNews> news = service()->news();
    return make_taker_place(taken_by, news ? news->job : helper.job, [helper, news] {
      std::vector<std::string> arguments = helper.arguments;
      arguments.emplace_back("take");
      return std::make_shared<wire::Connection>(start_helper(helper.program, arguments, environment_now(news)));
    });
  };
}

}  // namespace crs
