#include "cli/conformance.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/file_descriptor.h"
#include "base/io.h"
#include "cli/declared.h"
#include "cli/echo_server.h"
#include "framework/installed_tree.h"

namespace crs::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kStepLimit{30};
constexpr std::chrono::milliseconds kPauseBetweenLooks{5};
constexpr std::size_t kLargestAnswer = 65536;
constexpr const char* kSubject = "crs-conformance-subject";

// In the build tree beside crs, where it is installed in libexec.
fs::path find_subject() {
  fs::path beside = fs::path(read_link("/proc/self/exe")).replace_filename(kSubject);
  if (::access(beside.c_str(), X_OK) == 0) return beside;
  const std::string installed = installed_internal_program(kSubject);
  if (installed.empty()) fail(ErrorKind::NotFound, "there is no {} beside {}", kSubject, beside.parent_path().native());
  return installed;
}

// A private directory that is removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::error_code problem;
    const fs::path base = fs::temp_directory_path(problem);
    std::string name = ((problem ? fs::path("/tmp") : base) / "crs-conformance-XXXXXX").native();
    if (::mkdtemp(name.data()) == nullptr) fail_errno(errno, "making the directory {}", name);
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

struct CommandResult {
  int status = 0;
  std::string output;
  std::string errors;
};

std::string last_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

// Runs crs with the store and the parameters of this suite.
class Crs {
 public:
  Crs(const Context& context, const fs::path& directory) : directory_(directory) {
    for (const auto& [name, value] : context.environment()) environment_[name] = value;
    environment_["CRS_STORE"] = (directory / "store").native();
    environment_["CRS_PARAM_crs_helper"] = read_link("/proc/self/exe");
    // What the user set on the command line is set for all of them.
    for (const std::string& assignment : context.options.parameters) {
      const std::size_t equals = assignment.find('=');
      environment_["CRS_PARAM_" + assignment.substr(0, equals)] = assignment.substr(equals + 1);
    }
  }

  pid_t start(const std::vector<std::string>& arguments, const fs::path& output, const fs::path& errors) const {
    std::vector<std::string> words{"crs"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<std::string> variables;
    for (const auto& [name, value] : environment_) variables.push_back(fmt::format("{}={}", name, value));
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    const int flags = O_WRONLY | O_CREAT | O_APPEND;
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output.c_str(), flags, 0600);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors.c_str(), flags, 0600);
    // What this process happens to have inherited is none of the program's.
    ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    ::posix_spawn_file_actions_addchdir_np(&actions, directory_.c_str());
    pid_t pid = 0;
    const int problem =
        ::posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, pointers(words).data(), pointers(variables).data());
    ::posix_spawn_file_actions_destroy(&actions);
    if (problem != 0) fail_errno(problem, "starting crs");
    return pid;
  }

  CommandResult run(const std::vector<std::string>& arguments) const {
    const fs::path output = directory_ / "crs-output";
    const fs::path errors = directory_ / "crs-errors";
    fs::remove(output);
    fs::remove(errors);
    const pid_t pid = start(arguments, output, errors);
    int status = 0;
    for (const auto end = Clock::now() + kStepLimit; ::waitpid(pid, &status, WNOHANG) == 0;) {
      if (Clock::now() > end) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, &status, 0);
        return {
            -1, "",
            fmt::format("not done after {} s: {}", kStepLimit.count(), last_line(read_file(errors, kLargestAnswer)))};
      }
      std::this_thread::sleep_for(kPauseBetweenLooks);
    }
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(output, kLargestAnswer),
            last_line(read_file(errors, kLargestAnswer))};
  }

 private:
  static std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> list;
    for (std::string& text : texts) list.push_back(text.data());
    list.push_back(nullptr);
    return list;
  }

  fs::path directory_;
  std::map<std::string, std::string> environment_;
};

// The program that is put through it, in a directory of its own.
class Subject {
 public:
  Subject(const Crs& crs, fs::path directory, const std::string& component, const std::string& job, bool idle,
          std::uint16_t port)
      : directory_(std::move(directory)) {
    fs::create_directory(directory_);
    write_into("port", fmt::format("{}\n", port));
    runner_ = crs.start({"run", "--component", component, "--name", job, "--", find_subject().native(),
                         directory_.native(), idle ? "--idle" : component},
                        directory_ / "output", directory_ / "errors");
  }
  ~Subject() {
    try {
      end();
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): what is left is no process of ours
    }
  }
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  pid_t pid() const { return pid_; }

  // Waits for what it says; its process id is then known.
  std::string answer() {
    const fs::path file = directory_ / "answer";
    for (const auto end_of_wait = Clock::now() + kStepLimit; !fs::exists(file);) {
      if (Clock::now() > end_of_wait) fail(ErrorKind::Failed, "the program does not answer{}", words());
      if (runner_ > 0 && ::waitpid(runner_, nullptr, WNOHANG) == runner_) runner_ = 0;
      if (runner_ == 0 && !is_alive()) fail(ErrorKind::Failed, "the program has ended{}", words());
      std::this_thread::sleep_for(kPauseBetweenLooks);
    }
    std::string text = read_file(file, kLargestAnswer);
    fs::remove(file);
    if (text.starts_with("broken\n")) fail(ErrorKind::Failed, "{}", last_line(text));
    if (!adopted_) pid_ = std::atoi(read_file(directory_ / "pid", 64).c_str());
    return text;
  }

  std::string ask(const std::string& command) {
    write(command);
    return answer();
  }

  void write(const std::string& command) {
    write_into("command.new", command);
    fs::rename(directory_ / "command.new", directory_ / "command");
  }

  // A restarted program, by its id as it is seen from here; it may see itself under another one.
  void adopt(pid_t pid) {
    pid_ = pid;
    adopted_ = true;
  }

  // SIGKILL, and waits until it is gone, and the crs that started it.
  void end() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    if (runner_ > 0) {
      if (pid_ == 0) ::kill(runner_, SIGKILL);
      ::waitpid(runner_, nullptr, 0);
      runner_ = 0;
    }
    // Restarted programs become children of this process when their crs has ended (PR_SET_CHILD_SUBREAPER). A first
    // thread may be gone before the others are; of somebody else's child the call says so at once.
    if (is_gone() && pid_ > 0) static_cast<void>(::waitpid(pid_, nullptr, 0));
    pid_ = 0;
    adopted_ = false;
  }

  // Within the time for a step: what is killed ends soon.
  bool is_gone() const {
    for (const auto end_of_wait = Clock::now() + kStepLimit; is_alive();
         std::this_thread::sleep_for(kPauseBetweenLooks)) {
      if (Clock::now() > end_of_wait) return false;
    }
    return true;
  }

  bool is_alive() const { return std::string_view("Z?").find(state()) == std::string_view::npos; }

  bool is_stopped() const { return state() == 'T'; }

  void go_on() const { ::kill(pid_, SIGCONT); }

 private:
  // proc_pid_stat(5); '?' if it is not there.
  char state() const {
    if (pid_ <= 0) return '?';
    try {
      const std::string stat = read_file(fmt::format("/proc/{}/stat", pid_), kLargestAnswer);
      const std::size_t end_of_name = stat.rfind(") ");
      return end_of_name == std::string::npos ? '?' : stat.at(end_of_name + 2);
    } catch (const Error&) {
      return '?';
    }
  }

  void write_into(const std::string& name, const std::string& text) const {
    const FileDescriptor file = open_file(directory_ / name, O_WRONLY | O_CREAT | O_TRUNC);
    write_all(file.get(), name, as_byte_span(text));
  }

  std::string words() const {
    const std::string line = last_line(read_file(directory_ / "errors", kLargestAnswer));
    return line.empty() ? "" : fmt::format(": {}", line);
  }

  fs::path directory_;
  pid_t runner_ = 0;
  pid_t pid_ = 0;
  bool adopted_ = false;
};

// What the subject found of one kind of thing.
struct Seen {
  std::string kind;  // back, gone, other
  std::string text;
};

std::map<std::string, Seen> parse_look(const std::string& answer) {
  std::map<std::string, Seen> seen;
  std::istringstream lines(answer);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find('\t');
    const std::size_t second = line.find('\t', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    seen[line.substr(0, first)] = {line.substr(first + 1, second - first - 1), line.substr(second + 1)};
  }
  return seen;
}

std::string line_of(const std::string& text, int number) {
  std::istringstream lines(text);
  std::string line;
  for (int i = 0; i <= number; ++i) {
    if (!std::getline(lines, line)) return "";
  }
  return line;
}

class Suite {
 public:
  Suite(Context& context, std::string component)
      : component_(std::move(component)),
        crs_(context, directory_.path()),
        selection_(context.components().select(component_)) {}

  std::vector<Finding> run() {
    another_process();
    Subject subject(crs_, directory_.path() / "subject", component_, "conformance", false, outside_.port());
    if (!check("a program is started and has a service", [&] { return expect(subject.answer(), "ready"); }))
      return findings_;
    const bool goes = run_checkpoints(subject);
    if (goes && reference_.empty()) run_without_snapshot();
    if (goes && !reference_.empty()) run_restarts(subject);
    return findings_;
  }

 private:
  // Whether one that goes on does.
  bool run_checkpoints(Subject& subject) {
    const bool goes = check("a checkpoint goes on, and layers are told in order", [&] { return goes_on(subject); });
    check("a layer that fails ends the checkpoint, and the program is unharmed", [&] { return fails(subject); });
    check("a critical section delays a checkpoint", [&] { return delayed(subject); });
    check("a checkpoint gives up on a section that is not left", [&] { return given_up(subject); });
    return goes;
  }

  void run_without_snapshot() {
    check("nothing is stored, so nothing is declared",
          [&] { return what_is_declared(selection_.status().capabilities); });
    check("a restart without a snapshot is an error", [&] { return restart_of_nothing(); });
  }

  void run_restarts(Subject& subject) {
    const std::string first = reference_;
    check("the program ends and is restarted", [&] { return restart(subject, first); });
    check_brought_back(subject);
    check("the restarted program takes a checkpoint", [&] { return again(subject, first); });
    check("the earlier snapshot is still there, and is restarted", [&] { return restart(subject, first); });
    check_brought_back(subject);
    if (check("the running program becomes what it was, in place", [&] { return becomes(subject, first); })) {
      check_brought_back(subject, true);
    } else {
      check("it is restarted once more", [&] { return restart(subject, first); });
    }
    check("a program that is to be stopped after its checkpoint is, and goes on", [&] { return stops(subject); });
    check("a program that is to end after its checkpoint does", [&] { return ends(subject); });
  }

  // An empty text: good.
  template <typename Action>
  bool check(const std::string& name, Action&& action) {
    Finding finding{name, false, ""};
    try {
      finding.text = action();
      finding.good = finding.text.empty();
    } catch (const std::exception& problem) {
      finding.text = problem.what();
    }
    findings_.push_back(finding);
    return finding.good;
  }

  static std::string expect(const std::string& answer, const std::string& wanted) {
    return answer.starts_with(wanted) ? "" : fmt::format("'{}' instead of '{}'", line_of(answer, 0), wanted);
  }

  std::string expect_told(const std::string& answer, const std::string& wanted) const {
    const std::string told = line_of(answer, 1);
    return told == wanted ? "" : fmt::format("the layers were told '{}' instead of '{}'", told, wanted);
  }

  std::size_t count_snapshots() const {
    std::size_t count = 0;
    std::error_code problem;
    for (fs::directory_iterator entry(directory_.path() / "store" / "conformance", problem), end;
         !problem && entry != end; entry.increment(problem)) {
      const std::string name = entry->path().filename().native();
      if (name.find_first_not_of("0123456789") == std::string::npos) ++count;
    }
    return count;
  }

  std::string goes_on(Subject& subject) {
    const std::string answer = subject.ask("checkpoint");
    if (std::string problem = expect(answer, "continue"); !problem.empty()) return problem;
    reference_ = line_of(answer, 0).substr(std::string("continue ").size());
    const bool stored = count_snapshots() == 1;
    if (stored == reference_.empty())
      return fmt::format("it says '{}', and the store holds {}", reference_, count_snapshots());
    return expect_told(answer, "high checkpoint, low checkpoint, low continue, high continue");
  }

  std::string fails(Subject& subject) {
    const std::size_t before = count_snapshots();
    const std::string answer = subject.ask("checkpoint failing");
    if (std::string problem = expect(answer, "error the low layer was told to fail"); !problem.empty()) return problem;
    if (count_snapshots() != before) return "a snapshot was made all the same";
    if (std::string problem = expect_told(answer, "high checkpoint, low checkpoint, high error"); !problem.empty())
      return problem;
    for (const auto& [name, seen] : parse_look(subject.ask("look"))) {
      if (seen.kind != "back") return fmt::format("afterwards: {}: {} {}", name, seen.kind, seen.text);
    }
    return "";
  }

  static std::string delayed(Subject& subject) {
    const std::string answer = subject.ask("checkpoint delayed");
    if (std::string problem = expect(answer, "continue"); !problem.empty()) return problem;
    return line_of(answer, 2).find("'the other'") != std::string::npos
               ? ""
               : "the delay was not told: " + line_of(answer, 2);
  }

  std::string given_up(Subject& subject) const {
    const std::size_t before = count_snapshots();
    const std::string answer = subject.ask("checkpoint given up");
    if (std::string problem = expect(answer, "error"); !problem.empty()) return problem;
    if (answer.find("'the other'") == std::string::npos)
      return "it does not say which thread was in the way: " + answer;
    return count_snapshots() == before ? "" : "a snapshot was made all the same";
  }

  std::string restart_of_nothing() {
    try {
      Snapshot nothing{component_, "conformance@1", directory_.path().native(), "", false};
      selection_.module().restart(nothing, {});
    } catch (const Error& error) {
      return error.chain().front().empty() ? "it does not say why" : "";
    }
    return "it says that it was done";
  }

  std::string restart(Subject& subject, const std::string& reference) {
    subject.end();
    const CommandResult result = crs_.run({"restart", "--detach", reference});
    if (result.status != 0) return result.errors;
    subject.adopt(std::atoi(result.output.c_str()));
    return expect_restarted(subject.answer());
  }

  // The same process, by its id: `answer` waits for nobody else.
  std::string becomes(Subject& subject, const std::string& reference) const {
    const std::string problem = expect_restarted(subject.ask("become " + reference));
    return problem.empty() && !subject.is_alive() ? "another process has come in its place" : problem;
  }

  std::string expect_restarted(const std::string& answer) const {
    if (answer == "anew\n") return "";
    if (std::string problem = expect(answer, "restart"); !problem.empty()) return problem;
    return expect_told(answer,
                       "high checkpoint, low checkpoint, high restart-pre, low restart-pre, low restart, high restart");
  }

  std::string again(Subject& subject, const std::string& first) {
    const std::string answer = subject.ask("checkpoint");
    if (std::string problem = expect(answer, "continue"); !problem.empty()) return problem;
    return line_of(answer, 0) == "continue " + first ? "it has the name of the first one" : "";
  }

  std::string stops(Subject& subject) const {
    const CommandResult result = crs_.run({"checkpoint", "--stop", std::to_string(subject.pid())});
    if (result.status != 0) return result.errors;
    if (!subject.is_stopped()) return "it was not stopped";
    subject.go_on();
    return parse_look(subject.ask("look")).empty() ? "it found nothing afterwards" : "";
  }

  std::string ends(Subject& subject) const {
    const std::size_t before = count_snapshots();
    subject.write("checkpoint and end");
    if (!subject.is_gone()) return "it did not end";
    return count_snapshots() == before + 1 ? "" : "it ended, and there is no snapshot";
  }

  // Declared: it must be back. Not declared: it may be, but must not be something else.
  void check_brought_back(Subject& subject, bool in_place = false) {
    std::map<std::string, Seen> seen;
    if (!check("the restarted program looks at what it holds", [&] {
          seen = parse_look(subject.ask("look"));
          return seen.empty() ? "it found nothing" : "";
        })) {
      return;
    }
    const Capabilities& declared = selection_.status().capabilities;
    auto kinds = kinds_of(declared);
    // A process that becomes another one keeps its own id, but may not be one that may choose its threads'.
    if (!in_place) kinds.emplace_back("thread_ids", declared.process_ids && declared.threads);
    for (const auto& [name, is_declared] : kinds) {
      const Seen& found = seen[name];
      const bool good = is_declared ? found.kind == "back" : found.kind == "back" || found.kind == "gone";
      findings_.push_back(
          {fmt::format("{}: {}", name, is_declared ? "declared, so back" : "not declared, so nothing else"), good,
           good ? "" : fmt::format("{}{}{}", found.kind, found.text.empty() ? "" : ": ", found.text)});
    }
    for (const char* const name : {"memory", "excluded"}) {
      if (seen.contains(name)) {
        findings_.push_back({fmt::format("{}: right or not there", name), seen[name].kind != "other", seen[name].text});
      }
    }
  }

  // A program that knows nothing of checkpoints, from outside.
  void another_process() {
    std::optional<Subject> subject;
    if (!check("a program without a service is started", [&] {
          subject.emplace(crs_, directory_.path() / "idle", component_, "idle", true, outside_.port());
          return expect(subject->answer(), "ready");
        })) {
      return;
    }
    if (selection_.status().capabilities.other_processes) {
      check("another process: declared, so checkpointed and restarted", [&] { return checkpoint_other(*subject); });
    } else {
      check("another process: not declared, so refused", [&] { return refuse_other(*subject); });
    }
  }

  std::string refuse_other(const Subject& subject) const {
    const CommandResult result = crs_.run({"checkpoint", "--component", component_, std::to_string(subject.pid())});
    if (result.status == 0) return "it says that it was done";
    if (result.errors.empty()) return "it does not say why";
    return subject.is_alive() ? "" : "the process is gone";
  }

  std::string checkpoint_other(Subject& subject) const {
    CommandResult result = crs_.run({"checkpoint", "--component", component_, "--kill", "idle"});
    if (result.status != 0) return result.errors;
    if (!subject.is_gone()) return "--kill did not end the process";
    subject.end();
    result = crs_.run({"restart", "--detach", "idle"});
    if (result.status != 0) return result.errors;
    subject.adopt(std::atoi(result.output.c_str()));
    return subject.is_alive() ? "" : "the restarted process is not there";
  }

  std::string component_;
  TemporaryDirectory directory_;
  Crs crs_;
  EchoServer outside_;
  Selection selection_;
  std::string reference_;  // of the first snapshot of the subject; empty: the component stores nothing
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> check_conformance(Context& context, const std::string& component) {
  // Restarted programs come to this process when the crs that started them ends, so that they can be waited for.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  return Suite(context, component).run();
}

}  // namespace crs::cli
