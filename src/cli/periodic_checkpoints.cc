#include "cli/periodic_checkpoints.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/signal_name.h"
#include "cli/checkpoint_interval.h"
#include "cli/duration.h"
#include "engine/resources/descriptors/files/file_rules.h"

namespace crs::cli {
namespace {

// What a checkpoint costs is not known before the first one.
constexpr std::chrono::seconds kFirstAutomatic{10};

std::chrono::nanoseconds seconds_in(const Json& result, const char* key) {
  const auto found = result.find(key);
  if (found == result.end() || !found->is_number()) return {};
  return std::chrono::nanoseconds(std::llround(found->get<double>() * 1e9));
}

}  // namespace

void PeriodicOptions::define(CLI::App& app) {
  app.add_option("--every", every_, "Take a checkpoint at this interval; auto: the best one")
      ->type_name("DURATION|auto");
  app.add_option("--mtbf", between_failures_text_, "Mean time between failures, for --every auto")
      ->type_name("DURATION")
      ->capture_default_str();
  app.add_option("--keep", keep_, "So many of the job's newest snapshots stay (default: all)")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000'000));
  app.add_option("--on-signal", signal_names_, "At this signal to crs, a last snapshot and the end; may be repeated")
      ->type_name("SIGNAL")
      ->allow_extra_args(false);
  add_tcp_option(app, tcp_);
}

void PeriodicOptions::define_files(CLI::App& app) { add_files_option(app, files_); }

void PeriodicOptions::check() {
  automatic_ = every_ == "auto";
  if (!automatic_ && !every_.empty()) interval_ = parse_duration(every_);
  between_failures_ = parse_duration(between_failures_text_);
  for (const std::string& name : signal_names_) last_signals_.push_back(parse_signal(name));
  if (wanted()) last_signals_.push_back(SIGTERM);
  static_cast<void>(engine::FileRules(files_));
  const char* const useless = keep_ != 0 ? "--keep" : !files_.empty() ? "--files" : !tcp_.empty() ? "--tcp" : nullptr;
  if (useless != nullptr && !wanted()) {
    throw Error(ErrorKind::Usage, fmt::format("{} is for checkpoints that crs takes by itself", useless))
        .advise("Give --every or --on-signal as well");
  }
}

std::string PeriodicOptions::help() {
  return "--every: incremental checkpoints are taken in the background; one is left out, with a note, while the last "
         "is still "
         "being\n"
         "written. 'auto' weighs what a checkpoint takes, measured each time, against what a failure would lose, with\n"
         "the mean time between failures that --mtbf says (Young and Daly), and says what it chose.\n"
         "With --every or --on-signal, SIGTERM or that signal to crs is not sent on: a last snapshot is taken, the\n"
         "program ends with it, and crs ends with status 85. If that snapshot fails, the program gets the signal.\n";
}

PeriodicCheckpoints::PeriodicCheckpoints(Context& context, const PeriodicOptions& options, std::string job,
                                         std::string component)
    : context_(context), options_(options), job_(std::move(job)), component_(std::move(component)) {
  if (options_.interval_) interval_ = options_.interval_;
  if (options_.automatic_) interval_ = kFirstAutomatic;
  if (interval_) due_ = Clock::now() + *interval_;
}

PeriodicCheckpoints::~PeriodicCheckpoints() {
  try {
    finish();
  } catch (const std::exception&) {  // it goes on by itself
  }
}

bool PeriodicCheckpoints::takes(int signal) {
  if (std::ranges::find(options_.last_signals_, signal) == options_.last_signals_.end()) return false;
  stop_signal_ = signal;
  asked_to_stop_ = true;
  return true;
}

std::vector<std::string> PeriodicCheckpoints::command(bool last) const {
  std::vector<std::string> words{"checkpoint", "--json", "--incremental", "--store", context_.store().location(),
                                 "--name",     job_};
  for (const std::string& parameter : context_.options.parameters) words.insert(words.end(), {"--param", parameter});
  if (!component_.empty()) words.insert(words.end(), {"--component", component_});
  if (options_.keep_ != 0) words.insert(words.end(), {"--keep", std::to_string(options_.keep_)});
  for (const std::string& rule : options_.files_) words.insert(words.end(), {"--files", rule});
  if (!options_.tcp_.empty()) words.insert(words.end(), {"--tcp", options_.tcp_});
  if (last) words.emplace_back("--kill");
  words.push_back(job_);
  return words;
}

void PeriodicCheckpoints::start(bool last) {
  running_since_ = Clock::now();
  running_is_last_ = last;
  try {
    running_.emplace(command(last), OwnStreams::ErrorOnly);
  } catch (const Error& error) {
    context_.say(fmt::format("no checkpoint of {} can be taken: {}", job_, error.what()));
    if (last) stop_signal_ = 0;
  }
}

void PeriodicCheckpoints::act() {
  if (running_ && running_->ended(false)) take_result();
  if (stop_signal_ != 0) {
    if (!running_ && !ended_program_) start(true);
    return;
  }
  if (!interval_ || Clock::now() < due_) return;
  if (running_) {
    context_.say(fmt::format("the checkpoint of {} that began {} ago is still being written: one is left out", job_,
                             human_duration(Clock::now() - running_since_)));
  } else {
    start(false);
  }
  // Those that could not be taken, because crs itself was stopped, are not made up for.
  while (due_ <= Clock::now()) due_ += *interval_;
}

std::optional<std::chrono::nanoseconds> PeriodicCheckpoints::wait_limit() const {
  if (!interval_ || stop_signal_ != 0) return std::nullopt;
  return std::max<std::chrono::nanoseconds>(due_ - Clock::now(), std::chrono::nanoseconds(0));
}

// What went wrong the child process has said itself.
void PeriodicCheckpoints::take_result() {
  const OwnCommand ended = *std::exchange(running_, std::nullopt);
  const Json result = Json::parse(ended.output(), nullptr, false);
  // Where only layers of the program failed afterwards, there is a snapshot all the same.
  const bool complete = result.is_object() && result.contains("reference");
  if (!complete) {
    if (!running_is_last_) return;
    context_.say(fmt::format("there is no last snapshot of {}: it gets SIG{}", job_, ::sigabbrev_np(stop_signal_)));
    if (process_ > 0) ::kill(process_, stop_signal_);
    stop_signal_ = 0;
    return;
  }
  if (running_is_last_) {
    ended_program_ = true;
    context_.say(fmt::format("{} is the last snapshot: 'crs restart {}' goes on from there",
                             result.value("reference", job_), job_));
    return;
  }
  context_.say_more(fmt::format("{} is complete", result.value("reference", job_)));
  if (options_.automatic_) choose_interval(seconds_in(result, "total_seconds"));
}

void PeriodicCheckpoints::choose_interval(std::chrono::nanoseconds cost) {
  interval_ = best_interval(cost, options_.between_failures_);
  due_ = running_since_ + *interval_;
  // Told again only when it is another than was told.
  const double ratio =
      static_cast<double>(interval_->count()) / static_cast<double>(std::max<std::int64_t>(announced_.count(), 1));
  if (ratio > 0.8 && ratio < 1.25) return;
  announced_ = *interval_;
  context_.say(fmt::format("a checkpoint of {} takes {}: one every {} is best for a mean time between failures of {}",
                           job_, human_duration(cost), human_duration(*interval_),
                           human_duration(options_.between_failures_)));
}

bool PeriodicCheckpoints::finish() {
  process_ = 0;
  if (running_ && running_->ended(true)) take_result();
  return ended_program_;
}

}  // namespace crs::cli
