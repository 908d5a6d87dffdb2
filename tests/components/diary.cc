// A component that keeps a note instead of the program, and writes down each operation that it is asked for in $DIARY.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "crs/component.hpp"

namespace {

void write_down(const std::string& line) {
  if (const char* path = std::getenv("DIARY"); path != nullptr) std::ofstream(path, std::ios::app) << line << "\n";
}

class DiaryModule : public crs::Module {
 public:
  void init() override {
    write_down("init");
    if (std::getenv("DIARY_FAILS") != nullptr)
      throw crs::Error(crs::ErrorKind::Failed, "the diary is lost").advise("Look for it");
  }
  void finalize() override { write_down("finalize"); }

  crs::CheckpointOutcome checkpoint(pid_t pid, crs::SnapshotSink& sink,
                                    const crs::CheckpointOptions& options) override {
    write_down("checkpoint " + std::to_string(pid));
    if (!options.leave_out.empty()) {
      throw crs::Error(crs::ErrorKind::Refused, "the diary keeps nothing, so nothing can be left out")
          .advise("Leave --leave-out out");
    }
    std::ofstream(sink.location() + "/note") << pid << "\n";
    crs::SnapshotContents contents;
    contents.pid = pid;
    contents.threads = 1;
    contents.warnings.push_back("only a note was kept");
    sink.commit(contents);
    crs::CheckpointOutcome outcome;
    if (options.after == crs::AfterCheckpoint::Kill) {
      ::kill(pid, SIGKILL);
      outcome.state = crs::State::Term;
    }
    return outcome;
  }

  // The "program" ends with the status that its note tells.
  crs::RestartedProgram restart(crs::Snapshot& snapshot, const crs::RestartOptions& options) override {
    const bool cold = snapshot.cold_start;
    if (cold) options.rebuild(snapshot);
    write_down("restart " + snapshot.reference + " of " + snapshot.component + (options.detach ? ", detached" : "") +
               (cold ? ", from its location" : ""));
    crs::RestartedProgram program;
    program.pid = ::fork();
    if (program.pid == 0) {
      sigset_t none;
      ::sigemptyset(&none);
      ::sigprocmask(SIG_SETMASK, &none, nullptr);
      ::execl("/bin/sh", "sh", "-c", "kill -TERM $$", nullptr);
      ::_exit(1);
    }
    program.notes.push_back("the note is read");
    return program;
  }

  void prelaunch(crs::LaunchPlan& plan) override {
    write_down("prelaunch " + plan.application + (plan.rank > 0 ? ", rank " + std::to_string(plan.rank) : ""));
    plan.environment.push_back("PREPARED_BY=diary");
    plan.arguments.push_back("one more");
  }
};

class Diary : public crs::Component {
 public:
  std::string name() const override { return "diary"; }
  std::string version() const override { return "0.9"; }
  std::string description() const override { return "Writes down what it is asked for"; }
  crs::Capabilities capabilities() const override {
    crs::Capabilities capabilities;
    capabilities.other_processes = true;
    return capabilities;
  }
  crs::QueryResult query() override {
    if (std::getenv("DIARY") == nullptr) return {nullptr, 0, "there is no $DIARY to write to"};
    return {std::make_unique<DiaryModule>(), 7, {}};
  }
};

}  // namespace

CRS_COMPONENT(Diary);
