#include "framework/c_interface/module.h"

#include <unistd.h>

#include <functional>
#include <utility>

#include "base/error.h"
#include "framework/c_interface/texts.h"
#include "framework/process_facts.h"

namespace crs::c_interface {
namespace {

constexpr std::size_t kMostPasses = 4096;

int c_value(AfterCheckpoint after) {
  switch (after) {
    case AfterCheckpoint::Stop:
      return CRS_COMPONENT_STOP;
    case AfterCheckpoint::Kill:
      return CRS_COMPONENT_KILL;
    case AfterCheckpoint::Continue:
      break;
  }
  return CRS_COMPONENT_CONTINUE;
}

int c_value(Ids ids) {
  switch (ids) {
    case Ids::Keep:
      return CRS_COMPONENT_IDS_KEEP;
    case Ids::Namespace:
      return CRS_COMPONENT_IDS_NAMESPACE;
    case Ids::New:
      return CRS_COMPONENT_IDS_NEW;
    case Ids::Automatic:
      break;
  }
  return CRS_COMPONENT_IDS_AUTOMATIC;
}

State state_of(int value, const std::string& component) {
  switch (value) {
    case CRS_COMPONENT_WENT_ON:
      return State::Continue;
    case CRS_COMPONENT_RESTARTED:
      return State::Restart;
    case CRS_COMPONENT_ENDS:
      return State::Term;
    default:
      fail(ErrorKind::Failed, "component {} returned from its checkpoint in an unknown state ({})", component, value);
  }
}

// A sink as the component sees it. Commits once.
class Sink {
 public:
  Sink(Host& host, SnapshotSink& sink, pid_t pid) : host_(host), sink_(sink), pid_(pid) {
    handle_.size = sizeof handle_;
    handle_.context = this;
    handle_.location = sink_.location().c_str();
    handle_.commit = [](const crs_component_sink* handle, const crs_component_contents* contents) {
      Sink& self = *static_cast<Sink*>(handle->context);
      return self.host_.guard([&] { self.commit(contents); });
    };
  }

  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  const crs_component_sink* handle() const noexcept { return &handle_; }

 private:
  void commit(const crs_component_contents* contents) {
    if (committed_) fail(ErrorKind::Failed, "component {} commits its snapshot twice", host_.component());
    sink_.commit(checked(contents));
    committed_ = true;
  }

  SnapshotContents checked(const crs_component_contents* given) const {
    SnapshotContents contents;
    if (given != nullptr) {
      const std::size_t first_size = offsetof(crs_component_contents, pass_count) + sizeof(std::size_t);
      if (given->size < first_size) {
        fail(ErrorKind::Failed, "component {} describes its snapshot in {} bytes instead of {}", host_.component(),
             given->size, first_size);
      }
      contents.pause_nanoseconds = given->pause_nanoseconds;
      contents.memory_bytes = given->memory_bytes;
      contents.warnings = checked_list(given->warnings, kLongestLine, "a warning");
      contents.pid = given->pid;
      contents.threads = given->threads;
      contents.executable = optional_text(given->executable, kLongestLine, "the executable's path");
      contents.command_line = checked_list(given->arguments, kLongestText, "the program's command line");
      contents.working_directory = optional_text(given->working_directory, kLongestLine, "the working directory");
      contents.passes = passes(*given);
    }
    fill_in_process(contents, pid_);
    return contents;
  }

  static std::vector<Pass> passes(const crs_component_contents& given) {
    if (given.pass_count > kMostPasses || (given.pass_count > 0 && given.passes == nullptr)) {
      fail(ErrorKind::Failed, "the component tells of {} passes", given.pass_count);
    }
    std::vector<Pass> list;
    for (std::size_t i = 0; i < given.pass_count; ++i) {
      const crs_component_pass& pass = given.passes[i];
      list.push_back({checked_line(pass.name, kLongestName, "a pass's name"), pass.nanoseconds, pass.bytes});
    }
    return list;
  }

  Host& host_;
  SnapshotSink& sink_;
  pid_t pid_;
  bool committed_ = false;
  crs_component_sink handle_{};
};

// The options with everything that their C form points to.
class CheckpointWishes {
 public:
  CheckpointWishes(Host& host, const CheckpointOptions& options)
      : host_(host), options_(options), leave_out_(pointers_to(options.leave_out)) {
    for (const MemoryRange& range : options.exclude) exclude_.push_back({range.start, range.end});
    handle_.size = sizeof handle_;
    handle_.context = this;
    handle_.after = c_value(options.after);
    handle_.leave_out = leave_out_.data();
    handle_.exclude = exclude_.data();
    handle_.exclude_count = exclude_.size();
    handle_.expendable = options.expendable.data();
    handle_.expendable_count = options.expendable.size();
    handle_.channel = options.channel;
    handle_.remembered_path = options.remembered_path.c_str();
    handle_.compression = options.compression.c_str();
    handle_.write_limit = options.write_limit;
    handle_.progress = [](const crs_component_checkpoint_options* handle, const char* line) {
      const CheckpointWishes& self = *static_cast<CheckpointWishes*>(handle->context);
      if (!self.options_.progress) return;
      self.host_.guard([&] { self.options_.progress(checked_line(line, kLongestLine, "the progress it tells")); });
    };
  }
  CheckpointWishes(const CheckpointWishes&) = delete;
  CheckpointWishes& operator=(const CheckpointWishes&) = delete;

  const crs_component_checkpoint_options* handle() const noexcept { return &handle_; }

 private:
  Host& host_;
  const CheckpointOptions& options_;
  std::vector<const char*> leave_out_;
  std::vector<crs_component_range> exclude_;
  crs_component_checkpoint_options handle_{};
};

// The snapshot as the component sees it.
class GivenSnapshot {
 public:
  explicit GivenSnapshot(Snapshot& snapshot) : snapshot_(snapshot) {
    handle_.size = sizeof handle_;
    show();
  }
  GivenSnapshot(const GivenSnapshot&) = delete;
  GivenSnapshot& operator=(const GivenSnapshot&) = delete;

  crs_component_snapshot* handle() noexcept { return &handle_; }
  void rebuild(const std::function<void(Snapshot&)>& read_manifest) {
    if (!read_manifest) fail(ErrorKind::Failed, "there is no manifest to be read of {}", snapshot_.location);
    read_manifest(snapshot_);
    show();
  }
  void take_back() { snapshot_.cold_start = handle_.cold_start != 0; }

 private:
  void show() {
    handle_.component = snapshot_.component.c_str();
    handle_.reference = snapshot_.reference.c_str();
    handle_.location = snapshot_.location.c_str();
    handle_.cold_start = snapshot_.cold_start ? 1 : 0;
    handle_.remote_location = snapshot_.remote_location.c_str();
  }

  Snapshot& snapshot_;
  crs_component_snapshot handle_{};
};

class RestartWishes {
 public:
  RestartWishes(Host& host, const RestartOptions& options, GivenSnapshot& snapshot)
      : host_(host), options_(options), snapshot_(snapshot) {
    handle_.size = sizeof handle_;
    handle_.context = this;
    handle_.spawn_child = options.replace_caller ? 0 : 1;
    handle_.ids = c_value(options.ids);
    handle_.accept_changed_files = options.changed_files == ChangedFiles::Accept ? 1 : 0;
    handle_.detach = options.detach ? 1 : 0;
    handle_.channel = options.channel;
    handle_.set_aside_directory = options.set_aside_directory.c_str();
    handle_.remembered_path = options.remembered_path.c_str();
    handle_.file_mode_mask = options.file_mode_mask;
    handle_.progress = [](const crs_component_restart_options* handle, const char* line) {
      const RestartWishes& self = *static_cast<RestartWishes*>(handle->context);
      if (!self.options_.progress) return;
      self.host_.guard([&] { self.options_.progress(checked_line(line, kLongestLine, "the progress it tells")); });
    };
    handle_.before_start = [](const crs_component_restart_options* handle, pid_t pid) {
      const RestartWishes& self = *static_cast<RestartWishes*>(handle->context);
      if (self.options_.before_start) self.host_.guard([&] { self.options_.before_start(pid); });
    };
    handle_.rebuild = [](const crs_component_restart_options* handle, crs_component_snapshot* /*the only one*/) {
      const RestartWishes& self = *static_cast<RestartWishes*>(handle->context);
      return self.host_.guard([&] { self.snapshot_.rebuild(self.options_.rebuild); });
    };
  }
  RestartWishes(const RestartWishes&) = delete;
  RestartWishes& operator=(const RestartWishes&) = delete;

  const crs_component_restart_options* handle() const noexcept { return &handle_; }

 private:
  Host& host_;
  const RestartOptions& options_;
  GivenSnapshot& snapshot_;
  crs_component_restart_options handle_{};
};

// A plan with what its C form points to; changes go to the plan itself.
class Plan {
 public:
  Plan(Host& host, LaunchPlan& plan)
      : host_(host),
        plan_(plan),
        before_(plan),
        arguments_(pointers_to(before_.arguments)),
        environment_(pointers_to(before_.environment)) {
    handle_.size = sizeof handle_;
    handle_.context = this;
    handle_.rank = plan.rank;
    handle_.base_directory = before_.base_directory.c_str();
    handle_.application = before_.application.c_str();
    handle_.working_directory = before_.working_directory.c_str();
    handle_.arguments = arguments_.data();
    handle_.environment = environment_.data();
    handle_.set_application = [](crs_component_plan* handle, const char* application) {
      return change(handle, [&](LaunchPlan& changed) {
        changed.application = checked_text(application, kLongestLine, "the application that it sets");
      });
    };
    handle_.set_working_directory = [](crs_component_plan* handle, const char* directory) {
      return change(handle, [&](LaunchPlan& changed) {
        changed.working_directory = checked_text(directory, kLongestLine, "the working directory that it sets");
      });
    };
    handle_.set_arguments = [](crs_component_plan* handle, const char* const* arguments) {
      return change(handle, [&](LaunchPlan& changed) {
        std::vector<std::string> list = checked_list(arguments, kLongestText, "the command line that it sets");
        if (list.empty()) fail(ErrorKind::Failed, "the command line that it sets is empty");
        changed.arguments = std::move(list);
      });
    };
    handle_.set_variable = [](crs_component_plan* handle, const char* name, const char* value) {
      return change(handle, [&](LaunchPlan& changed) { set_variable(changed, name, value); });
    };
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  crs_component_plan* handle() noexcept { return &handle_; }

 private:
  template <typename Change>
  static int change(crs_component_plan* handle, Change&& apply) {
    Plan& self = *static_cast<Plan*>(handle->context);
    return self.host_.guard([&] { apply(self.plan_); });
  }

  static void set_variable(LaunchPlan& plan, const char* given_name, const char* given_value) {
    const std::string name = checked_text(given_name, kLongestText, "the variable that it sets");
    if (name.empty() || name.find('=') != std::string::npos) {
      fail(ErrorKind::Failed, "'{}' is no name for a variable of the environment", name);
    }
    std::erase_if(plan.environment, [&](const std::string& entry) { return entry.starts_with(name + "="); });
    if (given_value == nullptr) return;
    plan.environment.push_back(name + "=" + checked_text(given_value, kLongestText, "the value that it sets"));
  }

  Host& host_;
  LaunchPlan& plan_;
  LaunchPlan before_;
  std::vector<const char*> arguments_;
  std::vector<const char*> environment_;
  crs_component_plan handle_{};
};

// What restart() fills in.
class Restarted {
 public:
  explicit Restarted(Host& host) : host_(host) {
    handle_.size = sizeof handle_;
    handle_.context = this;
    handle_.note = [](crs_component_restarted* handle, const char* line) {
      Restarted& self = *static_cast<Restarted*>(handle->context);
      self.host_.guard([&] { self.notes_.push_back(checked_line(line, kLongestLine, "a note")); });
    };
  }
  Restarted(const Restarted&) = delete;
  Restarted& operator=(const Restarted&) = delete;

  crs_component_restarted* handle() noexcept { return &handle_; }

  RestartedProgram program() const {
    if (handle_.pid <= 0 || handle_.wait_pid < 0) {
      fail(ErrorKind::Failed, "component {} says that the restarted program is process {}", host_.component(),
           handle_.pid);
    }
    RestartedProgram program;
    program.pid = handle_.pid;
    program.wait_pid = handle_.wait_pid == 0 ? handle_.pid : handle_.wait_pid;
    program.notes = notes_;
    return program;
  }

 private:
  Host& host_;
  std::vector<std::string> notes_;
  crs_component_restarted handle_{};
};

class CModule final : public Module {
 public:
  CModule(const crs_component& table, std::shared_ptr<Host> host) : table_(table), host_(std::move(host)) {}

  void init() override {
    if (table_.init != nullptr) host_->run("init", [&] { return table_.init(host_->handle(), &state_); });
  }
  void finalize() override {
    if (table_.finalize != nullptr) host_->run("finalize", [&] { return table_.finalize(host_->handle(), state_); });
  }

  CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) override {
    require(table_.checkpoint != nullptr, "checkpoint");
    const bool is_other = pid != 0 && pid != ::getpid();
    if (is_other && (table_.capabilities & CRS_COMPONENT_OTHER_PROCESSES) == 0) {
      throw Error(ErrorKind::Failed, fmt::format("component {} cannot checkpoint another process", host_->component()))
          .advise("'crs components' lists those that can");
    }
    const Sink c_sink(*host_, sink, is_other ? pid : ::getpid());
    const CheckpointWishes wishes(*host_, options);
    crs_component_outcome outcome{};
    outcome.size = sizeof outcome;
    host_->run("checkpoint", [&] {
      return table_.checkpoint(host_->handle(), state_, pid, c_sink.handle(), wishes.handle(), &outcome);
    });
    return {state_of(outcome.state, host_->component()), outcome.pause_nanoseconds};
  }

  RestartedProgram restart(Snapshot& snapshot, const RestartOptions& options) override {
    require(table_.restart != nullptr, "restart");
    if (options.check_only) {
      check_restart(snapshot, options);
      return {};
    }
    GivenSnapshot given(snapshot);
    const RestartWishes wishes(*host_, options, given);
    Restarted restarted(*host_);
    host_->run("restart", [&] {
      return table_.restart(host_->handle(), state_, given.handle(), wishes.handle(), restarted.handle());
    });
    given.take_back();
    return restarted.program();
  }

  void disable_checkpoint() override {
    if (table_.disable_checkpoint == nullptr) return;
    host_->run("disable_checkpoint", [&] { return table_.disable_checkpoint(host_->handle(), state_); });
  }
  void enable_checkpoint() override {
    if (table_.enable_checkpoint == nullptr) return;
    host_->run("enable_checkpoint", [&] { return table_.enable_checkpoint(host_->handle(), state_); });
  }
  void prelaunch(LaunchPlan& plan) override {
    if (table_.prelaunch == nullptr) return;
    LaunchPlan changed = plan;
    Plan c_plan(*host_, changed);
    host_->run("prelaunch", [&] { return table_.prelaunch(host_->handle(), state_, c_plan.handle()); });
    plan = std::move(changed);
  }
  void register_thread() override {
    if (table_.register_thread == nullptr) return;
    host_->run("register_thread", [&] { return table_.register_thread(host_->handle(), state_); });
  }

 private:
  // A component that has no operation for it is asked nothing: what there is to check besides, whoever read the
  // snapshot has checked.
  void check_restart(Snapshot& snapshot, const RestartOptions& options) const {
    if (table_.check_restart == nullptr) return;
    GivenSnapshot given(snapshot);
    if (snapshot.cold_start && options.rebuild) given.rebuild(options.rebuild);
    const RestartWishes wishes(*host_, options, given);
    host_->run("check_restart",
               [&] { return table_.check_restart(host_->handle(), state_, given.handle(), wishes.handle()); });
  }

  void require(bool supported, const char* operation) const {
    if (!supported) fail(ErrorKind::Failed, "component {} does not support this: {}", host_->component(), operation);
  }

  crs_component table_;
  std::shared_ptr<Host> host_;
  void* state_ = nullptr;
};

}  // namespace

std::unique_ptr<Module> make_module(const crs_component& table, std::shared_ptr<Host> host) {
  return std::make_unique<CModule>(table, std::move(host));
}

}  // namespace crs::c_interface
