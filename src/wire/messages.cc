#include "wire/messages.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "base/error.h"

namespace crs::wire {
namespace {

// Words that a program's code chose may be of any length.
std::string shortened(std::string text) {
  constexpr std::size_t kLongest = kLongestMessage / 2;
  if (text.size() <= kLongest) return text;
  text.resize(kLongest);
  return text + " ...";
}

Message start(const char* type) { return {{"version", kProtocolVersion}, {"type", type}}; }

// One map of a message, whose every member is checked when it is asked for.
class Fields {
 public:
  Fields(const Message& map, std::string name) : map_(map), name_(std::move(name)) {
    if (!map_.is_object()) fail(ErrorKind::Failed, "a message is malformed: {} is no map", name_);
  }

  std::string text(const char* field) const {
    const Message& value = member(field);
    if (!value.is_string()) wrong(field);
    return value.get<std::string>();
  }

  template <typename Number>
  Number number(const char* field, Number largest = std::numeric_limits<Number>::max()) const {
    const Message& value = member(field);
    if (!value.is_number_unsigned()) wrong(field);
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(largest)) wrong(field);
    return static_cast<Number>(number);
  }

  std::chrono::nanoseconds time(const char* field) const {
    return std::chrono::nanoseconds(number<std::chrono::nanoseconds::rep>(field));
  }

  bool has(const char* field) const { return map_.contains(field); }

  bool flag(const char* field) const {
    const Message& value = member(field);
    if (!value.is_boolean()) wrong(field);
    return value.get<bool>();
  }

  template <typename Choice>
  Choice choice(const char* field, Choice last) const {
    return static_cast<Choice>(number<unsigned>(field, static_cast<unsigned>(last)));
  }

  const Message& list(const char* field) const {
    const Message& value = member(field);
    if (!value.is_array()) wrong(field);
    return value;
  }

  std::vector<std::string> texts(const char* field) const {
    std::vector<std::string> texts;
    for (const Message& value : list(field)) {
      if (!value.is_string()) wrong(field);
      texts.push_back(value.get<std::string>());
    }
    return texts;
  }

  template <typename Read>
  auto each(const char* field, const Read& read) const {
    std::vector<decltype(read(std::declval<const Fields&>()))> values;
    for (const Message& value : list(field)) values.push_back(read(Fields(value, name_ + "." + field)));
    return values;
  }

  Fields map(const char* field) const { return {member(field), name_ + "." + field}; }

  std::map<std::string, std::string> variables(const char* field) const {
    const Message& value = member(field);
    if (!value.is_object()) wrong(field);
    std::map<std::string, std::string> variables;
    for (const auto& [name, text] : value.items()) {
      if (!text.is_string()) wrong(field);
      variables.emplace(name, text.get<std::string>());
    }
    return variables;
  }

  [[noreturn]] void wrong(const char* field) const {
    fail(ErrorKind::Failed, "a message is malformed: {} of '{}' is not what it should be", field, name_);
  }

 private:
  const Message& member(const char* field) const {
    const auto found = map_.find(field);
    if (found == map_.end()) fail(ErrorKind::Failed, "a message is malformed: '{}' lacks {}", name_, field);
    return *found;
  }

  const Message& map_;
  std::string name_;
};

Fields fields_of(const Message& message, const char* type) {
  if (type_of(message) != type) {
    fail(ErrorKind::Failed, "the other side sent '{}' where '{}' was to come", type_of(message), type);
  }
  return {message, type};
}

constexpr std::array kStates = {State::Checkpoint, State::RestartPre, State::Restart, State::Continue,
                                State::Term,       State::Running,    State::Error};

State read_state(const Fields& fields) {
  const std::string name = fields.text("state");
  for (const State state : kStates) {
    if (name == name_of(state)) return state;
  }
  fields.wrong("state");
}

// As many as a message has room for: those that took longest, and in the place of the others one entry for each state.
std::vector<LayerTime> fitting(const std::vector<LayerTime>& times) {
  constexpr std::size_t kRoom = kLongestMessage / 8 * 3;
  constexpr std::size_t kBesideName = 64;
  std::vector<std::size_t> longest_first(times.size());
  std::iota(longest_first.begin(), longest_first.end(), std::size_t{0});
  std::ranges::stable_sort(longest_first, std::greater(), [&](std::size_t at) { return times[at].nanoseconds; });
  std::set<std::size_t> kept;
  std::map<State, LayerTime> others;
  std::map<State, std::size_t> counts;
  std::size_t taken = 0;
  for (const std::size_t at : longest_first) {
    taken += times[at].layer.size() + kBesideName;
    if (taken <= kRoom) {
      kept.insert(at);
      continue;
    }
    const State state = times[at].state;
    LayerTime& sum = others.try_emplace(state, LayerTime{"", state, 0}).first->second;
    sum.nanoseconds += times[at].nanoseconds;
    sum.layer = fmt::format("({} others)", ++counts[state]);
  }
  std::vector<LayerTime> chosen;
  for (const std::size_t at : kept) chosen.push_back(times[at]);
  for (const auto& [state, sum] : others) chosen.push_back(sum);
  return chosen;
}

Message list_of(const std::vector<LayerTime>& times) {
  Message list = Message::array();
  for (const LayerTime& time : fitting(times)) {
    list.push_back({{"layer", time.layer}, {"state", name_of(time.state)}, {"nanoseconds", time.nanoseconds}});
  }
  return list;
}

std::vector<LayerTime> read_times(const Fields& fields, const char* field) {
  return fields.each(field, [](const Fields& time) {
    return LayerTime{time.text("layer"), read_state(time), time.number<std::uint64_t>("nanoseconds")};
  });
}

Message list_of(const std::vector<MemoryRange>& ranges) {
  Message list = Message::array();
  for (const MemoryRange& range : ranges) list.push_back({{"start", range.start}, {"end", range.end}});
  return list;
}

std::vector<MemoryRange> read_ranges(const Fields& fields, const char* field) {
  return fields.each(field, [](const Fields& range) {
    const MemoryRange read{range.number<std::uint64_t>("start"), range.number<std::uint64_t>("end")};
    if (read.start > read.end) range.wrong("end");
    return read;
  });
}

Message list_of(const std::vector<Pass>& passes) {
  Message list = Message::array();
  for (const Pass& pass : passes) {
    list.push_back(
        {{"name", pass.name}, {"nanoseconds", pass.nanoseconds}, {"bytes", pass.bytes}, {"part_of", pass.part_of}});
  }
  return list;
}

std::vector<Pass> read_passes(const Fields& fields, const char* field) {
  return fields.each(field, [](const Fields& pass) {
    return Pass{pass.text("name"), pass.number<std::uint64_t>("nanoseconds"), pass.number<std::uint64_t>("bytes"),
                pass.text("part_of")};
  });
}

}  // namespace

std::string type_of(const Message& message) { return message.at("type").get<std::string>(); }

Message to_message(const Begin& value) {
  Message message = start(Begin::kType);
  message["component"] = value.component;
  message["component_version"] = value.component_version;
  message["interface"] = {{"major", static_cast<unsigned>(value.interface_version.major)},
                          {"minor", static_cast<unsigned>(value.interface_version.minor)},
                          {"patch", static_cast<unsigned>(value.interface_version.patch)}};
  message["job"] = value.job;
  message["layers"] = list_of(value.layers);
  message["pid"] = static_cast<std::uint64_t>(value.pid);
  return message;
}

template <>
Begin from<Begin>(const Message& message) {
  const Fields fields = fields_of(message, Begin::kType);
  const Fields interface = fields.map("interface");
  return {.component = fields.text("component"),
          .component_version = fields.text("component_version"),
          .interface_version = {interface.number<int>("major"), interface.number<int>("minor"),
                                interface.number<int>("patch")},
          .job = fields.text("job"),
          .layers = read_times(fields, "layers"),
          .pid = fields.number<pid_t>("pid")};
}

Message to_message(const Location& value) {
  Message message = start(Location::kType);
  message["location"] = value.location;
  message["reference"] = value.reference;
  message["final_location"] = value.final_location;
  return message;
}

template <>
Location from<Location>(const Message& message) {
  const Fields fields = fields_of(message, Location::kType);
  return {.location = fields.text("location"),
          .reference = fields.text("reference"),
          .final_location = fields.text("final_location")};
}

Message to_message(const Commit& value) {
  const SnapshotContents& contents = value.contents;
  Message message = start(Commit::kType);
  message["passes"] = list_of(contents.passes);
  message["pause"] = contents.pause_nanoseconds;
  message["memory_bytes"] = contents.memory_bytes;
  message["warnings"] = contents.warnings;
  message["pid"] = static_cast<unsigned>(contents.pid);
  message["threads"] = contents.threads;
  message["executable"] = contents.executable;
  message["command_line"] = contents.command_line;
  message["working_directory"] = contents.working_directory;
  message["cpu_features"] = contents.cpu_features;
  if (value.end_limit) message["end_limit"] = static_cast<std::uint64_t>(value.end_limit->count());
  return message;
}

template <>
Commit from<Commit>(const Message& message) {
  const Fields fields = fields_of(message, Commit::kType);
  Commit commit{.contents = {.passes = read_passes(fields, "passes"),
                             .pause_nanoseconds = fields.number<std::uint64_t>("pause"),
                             .memory_bytes = fields.number<std::uint64_t>("memory_bytes"),
                             .warnings = fields.texts("warnings"),
                             .pid = fields.number<pid_t>("pid"),
                             .threads = fields.number<std::uint32_t>("threads"),
                             .executable = fields.text("executable"),
                             .command_line = fields.texts("command_line"),
                             .working_directory = fields.text("working_directory"),
                             .cpu_features = fields.texts("cpu_features")}};
  if (fields.has("end_limit")) commit.end_limit = fields.time("end_limit");
  return commit;
}

Message to_message(const Committed& /*value*/) { return start(Committed::kType); }

template <>
Committed from<Committed>(const Message& message) {
  fields_of(message, Committed::kType);
  return {};
}

Message to_message(const Picture& value) {
  Message message = start(Picture::kType);
  message["after"] = static_cast<unsigned>(value.after);
  message["leave_out"] = value.leave_out;
  message["exclude"] = list_of(value.exclude);
  message["channel"] = static_cast<unsigned>(value.channel);
  message["single"] = value.single;
  message["tcp"] = static_cast<unsigned>(value.tcp);
  message["incremental"] = value.incremental;
  message["compression"] = value.compression;
  message["write_limit"] = value.write_limit;
  message["files"] = value.files;
  if (value.time_limit) message["time_limit"] = static_cast<std::uint64_t>(value.time_limit->count());
  Message& expendable = message["expendable"] = Message::array();
  for (const int number : value.expendable) expendable.push_back(static_cast<unsigned>(number));
  return message;
}

template <>
Picture from<Picture>(const Message& message) {
  const Fields fields = fields_of(message, Picture::kType);
  Picture picture{.after = fields.choice("after", AfterCheckpoint::Kill),
                  .leave_out = fields.texts("leave_out"),
                  .exclude = read_ranges(fields, "exclude"),
                  .expendable = {},
                  .channel = fields.number<int>("channel"),
                  .single = fields.flag("single"),
                  .tcp = fields.choice("tcp", TcpPolicy::Keep),
                  .incremental = fields.flag("incremental"),
                  .compression = fields.text("compression"),
                  .write_limit = fields.number<std::uint64_t>("write_limit"),
                  .files = fields.texts("files")};
  for (const Message& number : fields.list("expendable")) {
    if (!number.is_number_unsigned() || number > std::numeric_limits<int>::max()) fields.wrong("expendable");
    picture.expendable.push_back(number.get<int>());
  }
  if (fields.has("time_limit")) picture.time_limit = fields.time("time_limit");
  return picture;
}

Message to_message(const Outcome& value) {
  Message message = start(Outcome::kType);
  message["state"] = name_of(value.state);
  message["pause"] = value.pause_nanoseconds;
  return message;
}

template <>
Outcome from<Outcome>(const Message& message) {
  const Fields fields = fields_of(message, Outcome::kType);
  const Outcome outcome{.state = read_state(fields), .pause_nanoseconds = fields.number<std::uint64_t>("pause")};
  if (outcome.state != State::Continue && outcome.state != State::Term) fields.wrong("state");
  return outcome;
}

Message to_message(const Failure& value) {
  Message message = start(Failure::kType);
  message["error"] = value.error.encode(kLongestMessage / 2);
  return message;
}

template <>
Failure from<Failure>(const Message& message) {
  return {.error = Error::decode(fields_of(message, Failure::kType).text("error"))};
}

Message to_message(const Layers& value) {
  Message message = start(Layers::kType);
  message["times"] = list_of(value.times);
  message["failures"] = Message::array();
  // Beside the times; there is one, with those that came after it.
  for (const std::string& failure : value.failures) message["failures"].push_back(shortened(failure));
  message["stop"] = value.stop ? 1U : 0U;
  message["end"] = value.end ? 1U : 0U;
  return message;
}

template <>
Layers from<Layers>(const Message& message) {
  const Fields fields = fields_of(message, Layers::kType);
  return {.times = read_times(fields, "times"),
          .failures = fields.texts("failures"),
          .stop = fields.number<unsigned>("stop") != 0,
          .end = fields.has("end") && fields.number<unsigned>("end") != 0};  // an older libcrs does not say
}

Message to_message(const Restarted& value) {
  Message message = start(Restarted::kType);
  message["reference"] = value.news.reference;
  message["job"] = value.news.job;
  message["environment"] = Message::object();
  for (const auto& [name, text] : value.news.environment) message["environment"][name] = text;
  message["excluded"] = list_of(value.news.excluded);
  return message;
}

template <>
Restarted from<Restarted>(const Message& message) {
  const Fields fields = fields_of(message, Restarted::kType);
  return {.news = {.reference = fields.text("reference"),
                   .job = fields.text("job"),
                   .environment = fields.variables("environment"),
                   .excluded = read_ranges(fields, "excluded")}};
}

Message to_message(const RestartDone& value) {
  Message message = start(RestartDone::kType);
  message["pid"] = static_cast<std::uint64_t>(value.pid);
  message["reference"] = value.reference;
  message["component"] = value.component;
  return message;
}

template <>
RestartDone from<RestartDone>(const Message& message) {
  const Fields fields = fields_of(message, RestartDone::kType);
  return {
      .pid = fields.number<pid_t>("pid"), .reference = fields.text("reference"), .component = fields.text("component")};
}

Message to_message(const Request& value) {
  Message message = start(Request::kType);
  message["after"] = static_cast<unsigned>(value.after);
  message["time_limit"] = static_cast<std::uint64_t>(value.time_limit.count());
  message["leave_out"] = value.leave_out;
  message["exclude"] = list_of(value.exclude);
  return message;
}

template <>
Request from<Request>(const Message& message) {
  const Fields fields = fields_of(message, Request::kType);
  return {.after = fields.choice("after", AfterCheckpoint::Kill),
          .time_limit = fields.time("time_limit"),
          .leave_out = fields.texts("leave_out"),
          .exclude = read_ranges(fields, "exclude")};
}

Message to_message(const Progressed& value) {
  Message message = start(Progressed::kType);
  message["stage"] = static_cast<unsigned>(value.progress.stage);
  message["text"] = shortened(value.progress.text);
  return message;
}

template <>
Progressed from<Progressed>(const Message& message) {
  const Fields fields = fields_of(message, Progressed::kType);
  return {.progress = {fields.choice("stage", Progress::Stage::Failed), fields.text("text")}};
}

}  // namespace crs::wire
