#include "cli/layer_report.h"

#include <sys/socket.h>

#include <utility>

#include "base/error.h"
#include "store/layer_times.h"
#include "wire/messages.h"

namespace crs::cli {

LayerReport::LayerReport(Context& context, Reference snapshot, const RestartNews& news, std::chrono::nanoseconds limit)
    : context_(context), snapshot_(std::move(snapshot)), limit_(limit) {
  auto [ours, theirs] = wire::Connection::make_pair();
  connection_ = wire::Connection(std::move(ours), "the program");
  program_end_ = std::move(theirs);
  in_context("telling the program of its restart",
             [&] { connection_.start_sending(wire::to_message(wire::Restarted{.news = news})); });
}

LayerReport::~LayerReport() {
  if (!waiting_.joinable()) return;
  // What the program has said, or left unsaid, is still told.
  if (!connection_.has_ended()) ends_ = true;
  ::shutdown(connection_.number(), SHUT_RDWR);
  waiting_.join();
}

void LayerReport::take(const wire::Message& message) {
  // Of one that begins anew (component self).
  if (wire::is<wire::Failure>(message)) {
    return fail_with(
        fmt::format("the program could not come back: {}", wire::from<wire::Failure>(message).error.what()));
  }
  const auto layers = wire::from<wire::Layers>(message);
  failures_ = layers.failures;
  for (const std::string& failure : failures_) {
    context_.say(fmt::format("{} runs, but not as it did: {}", snapshot_.to_string(), failure));
  }
  if (layers.times.empty() && failures_.empty()) return;
  record_layer_times(context_.store(), snapshot_, LayerRound::Restart, layers.times, layers.failures);
}

void LayerReport::fail_with(std::string failure) {
  context_.say(fmt::format("{}: {}", snapshot_.to_string(), failure));
  failures_.push_back(std::move(failure));
}

void LayerReport::wait() {
  try {
    const auto until = std::chrono::steady_clock::now() + limit_;
    // What there was no room for: the program reads only now.
    wire::Received received{.kind = wire::Received::Kind::TimedOut};
    if (connection_.finish_sending(until)) received = connection_.receive(until);
    if (received.kind == wire::Received::Kind::Arrived) take(received.message);
    if (ends_) return;
    // A program without a service never reads what it is told.
    if (received.kind == wire::Received::Kind::End && !connection_.left_unread())
      fail_with("the program ended before its layers had come back");
    if (received.kind == wire::Received::Kind::TimedOut) {
      fail_with(fmt::format("the program runs, but its layers have not come back within {} s",
                            std::chrono::duration_cast<std::chrono::seconds>(limit_).count()));
    }
  } catch (const Error& error) {
    // The program runs all the same; the store may be a read-only copy.
    context_.say_more(fmt::format("what the program's layers reported is lost: {}", error.what()));
  }
}

void LayerReport::wait_aside() {
  waiting_ = std::thread([this] { wait(); });
}

}  // namespace crs::cli
