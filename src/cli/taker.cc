#include "cli/taker.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/longest_limit.h"
#include "cli/incremental.h"
#include "cli/jobs.h"
#include "engine/resources/processor/processor.h"
#include "store/disk.h"
#include "store/layer_times.h"

namespace crs::cli {
namespace {

// Of a libcrs that does not say how long the layers may take.
constexpr std::chrono::minutes kUsualEndLimit{1};

// Commits only while whoever asked still waits: a program that has given a snapshot up says that there is none, and
// what was pictured later does not wait for a restart's news.
class WhileWanted final : public SnapshotSink {
 public:
  WhileWanted(SnapshotWriter& writer, const wire::Connection& asker) : writer_(writer), asker_(asker) {}
  const std::string& location() const override { return writer_.location(); }
  void check_wanted() const override {
    if (asker_.has_ended()) fail(ErrorKind::Failed, "{} has given the snapshot up", asker_.peer_name());
  }
  void commit(const SnapshotContents& contents) override {
    check_wanted();
    writer_.commit(contents);
  }

 private:
  SnapshotWriter& writer_;
  const wire::Connection& asker_;
};

}  // namespace

Taker::Taker(Context& context, wire::Connection& connection, TakerOptions options)
    : context_(context), connection_(connection), options_(std::move(options)), program_(options_.pid) {}

void Taker::handle(const wire::Message& message) {
  try {
    if (wire::is<wire::Begin>(message)) return begin(wire::from<wire::Begin>(message));
    if (wire::is<wire::Commit>(message)) return commit(wire::from<wire::Commit>(message));
    if (wire::is<wire::Picture>(message)) return picture(wire::from<wire::Picture>(message));
    finish(wire::from<wire::Layers>(message));
  } catch (Error& error) {
    advise_about_space(error);
    writer_.reset();  // nothing stays of it, and the next one need not wait
    try {
      connection_.send(wire::to_message(wire::Failure{error}));
    } catch (const Error&) {  // the program has gone: the first cause counts
    }
    throw;
  }
}

void Taker::begin(const wire::Begin& begin) {
  if (writer_ != nullptr) fail(ErrorKind::Failed, "the program begins a second snapshot");
  if (begin.pid != 0 && begin.pid != options_.pid) {
    if (!options_.others) fail(ErrorKind::Failed, "the program asks for a snapshot of process {}", begin.pid);
    program_ = ProgramTree(begin.pid);
    options_.pid = begin.pid;
    is_other_ = true;
  }
  SnapshotRequest request;
  request.job = options_.job.empty() ? job_of_process(context_.store(), options_.pid, begin.job) : options_.job;
  request.component = component_ = begin.component;
  request.component_version = begin.component_version;
  request.interface_version = begin.interface_version;
  request.wait_limit = options_.wait_limit;
  request.progress = options_.progress;
  request.cpu_features = engine::processor_features;
  writer_ = context_.store().begin(request);
  writer_->set_layers(begin.layers);
  connection_.send(wire::to_message(
      wire::Location{writer_->location(), writer_->reference().to_string(), writer_->final_location()}));
}

SnapshotWriter& Taker::begun() {
  if (writer_ == nullptr) fail(ErrorKind::Failed, "the program has not begun a snapshot");
  return *writer_;
}

void Taker::commit(const wire::Commit& commit) {
  WhileWanted(begun(), connection_).commit(commit.contents);
  if (commit.end_limit) {
    end_by_ = std::chrono::steady_clock::now() + bounded(*commit.end_limit);
    program_.look();
  }
  connection_.send(wire::to_message(wire::Committed{}));
}

void Taker::picture(const wire::Picture& picture) {
  SnapshotWriter& writer = begun();
  pictures_ = true;
  const Selection selection = context_.components().select(component_);
  CheckpointOptions options;
  options.remembered_path = context_.store().remembered_path(writer.reference().job);
  options.leave_out = picture.leave_out;
  options.exclude = picture.exclude;
  options.expendable = picture.expendable;
  options.channel = is_other_ ? -1 : picture.channel;  // it has none
  const Storing& said = options_.storing;
  options.single = said.single || picture.single;
  options.tcp = options_.tcp != TcpPolicy::Reset ? options_.tcp : picture.tcp;
  options.progress = options_.progress;
  if (said.incremental || picture.incremental) make_incremental(options, context_.store(), writer.reference());
  options.compression = !said.compression.empty() ? said.compression : picture.compression;
  options.write_limit = said.write_limit != 0 ? said.write_limit : picture.write_limit;
  options.files = said.files;
  // Whose content is kept in another user's store, and given back with that one's rights, is not for the program to
  // say.
  if (said.files.empty() && connection_.peer().user == ::geteuid()) options.files = picture.files;
  // A program that is to end hears of it first, so that its layers can: it is stopped until the snapshot is safe.
  ends_program_ = picture.after == AfterCheckpoint::Kill;
  if (ends_program_ && options.tcp == TcpPolicy::Keep)
    throw Error(ErrorKind::Failed, "a program with a service ends by itself, and its TCP connections with it")
        .advise("Leave --tcp keep out: its layers open their connections again");
  options.after = picture.after == AfterCheckpoint::Continue ? AfterCheckpoint::Continue : AfterCheckpoint::Stop;
  if (ends_program_) program_.note_stopped();
  WhileWanted sink(writer, connection_);
  const CheckpointOutcome outcome = selection.module().checkpoint(options_.pid, sink, options);
  if (!writer.committed()) fail(ErrorKind::Failed, "component {} stored no snapshot", selection.name());
  connection_.send(
      wire::to_message(wire::Outcome{ends_program_ ? State::Term : State::Continue, outcome.pause_nanoseconds}));
  if (ends_program_) end_program(options_.end_limit.value_or(picture.time_limit.value_or(kUsualEndLimit)));
}

void Taker::end_program(std::chrono::nanoseconds limit) {
  program_.go_on();
  finish(layers_at_end(bounded(limit)));
  end_all();
}

// What the program says when its layers know that it ends, or why it says nothing.
wire::Layers Taker::layers_at_end(std::chrono::nanoseconds limit) {
  wire::Layers silent;
  try {
    const wire::Received received = connection_.receive(std::chrono::steady_clock::now() + limit);
    if (received.kind == wire::Received::Kind::Arrived) return wire::from<wire::Layers>(received.message);
    const std::chrono::duration<double> seconds = limit;
    silent.failures.push_back(
        received.kind == wire::Received::Kind::TimedOut
            ? fmt::format("the layers had not ended within {} s, and were cut off", seconds.count())
            : "the program ended before all its layers had been told that it ends");
  } catch (const Error& error) {
    silent.failures.push_back(fmt::format("how the layers ended is not known: {}", error.what()));
  }
  return silent;
}

void Taker::finish(const wire::Layers& layers) {
  layers_ = layers;
  if (!committed()) return;
  try {
    record_layer_times(context_.store(), writer_->reference(), LayerRound::Checkpoint, layers.times, layers.failures);
  } catch (const Error&) {
    // The snapshot is complete without them; how long the layers took is then unknown.
  }
  if (ends_program_) return;
  if (layers.end) return end_all();
  if (!layers.stop) return;
  try {
    program_.stop();
  } catch (const Error& error) {
    layers_->failures.push_back(fmt::format("not all processes of the program are stopped: {}", error.what()));
  }
}

void Taker::end_all() {
  try {
    program_.end();
  } catch (const Error& error) {
    layers_->failures.push_back(fmt::format("some processes of the program may be left: {}", error.what()));
  }
}

}  // namespace crs::cli
