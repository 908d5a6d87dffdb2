// A checkpointer as CRS sees it: a component that is asked whether it can work here, and the module it then hands out.
//
// The command line and the library never know which checkpointer they call: they select a component through the
// framework and use the operations of its module. C++17. A module is used by one thread at a time unless an operation
// says otherwise. Every operation reports failure by throwing crs::Error; the program that was to be checkpointed is
// then unharmed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "crs/error.hpp"
#include "crs/state.hpp"

namespace [[gnu::visibility("default")]] crs {

// The version of this interface. A component built for another major version is refused.
struct InterfaceVersion {
  int major = 2;
  int minor = 6;
  int patch = 0;
};
inline constexpr InterfaceVersion kInterfaceVersion{};

// Names one snapshot to a component.
struct Snapshot {
  std::string component;        // which component wrote it
  std::string reference;        // JOB@SEQ
  std::string location;         // absolute path of the snapshot's directory
  std::string remote_location;  // a copy elsewhere, or empty; for whoever makes copies: CRS itself makes none
  bool cold_start = false;      // "you have only the location": set by the restart tool, cleared by the component
};

// One pass of an operation, how long it took, and how many bytes of the program's or the snapshot's it moved.
struct Pass {
  std::string name;
  std::uint64_t nanoseconds = 0;
  std::uint64_t bytes = 0;
  std::string part_of{};  // the pass during which it ran, or empty: those that are part of none follow each other
};

// Addresses [start, end) of a program.
struct MemoryRange {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

// What a component hands to the framework when everything of the snapshot is written and before the program is
// released.
struct SnapshotContents {
  std::vector<Pass> passes;             // in the order they began
  std::uint64_t pause_nanoseconds = 0;  // how long the program was stopped so far
  std::uint64_t memory_bytes = 0;       // of memory that the snapshot holds, uncompressed
  std::vector<std::string> warnings;    // what could not be kept exactly and why, one sentence each
  // What the manifest says of the program.
  pid_t pid = 0;  // as the program sees itself
  std::uint32_t threads = 0;
  std::string executable;
  std::vector<std::string> command_line;
  std::string working_directory;
  std::vector<std::string> cpu_features;  // that the restart's processor must have
  std::vector<MemoryRange> excluded{};    // what of CheckpointOptions::exclude was left out, ascending
  std::uint32_t processes = 1;            // how many there are, the root, its descendants and zombies
  // The sequence number of the earlier snapshot of the job whose files this one goes on to use; 0: none.
  std::uint64_t parent_sequence = 0;
};

// A snapshot in the making: a private directory that becomes visible only by commit().
class SnapshotSink {
 public:
  virtual ~SnapshotSink() = default;
  // Where the component writes its files (absolute; exists, mode 0700, empty at first). Files named "manifest" are the
  // framework's.
  virtual const std::string& location() const = 0;
  // Throws if nobody waits for the snapshot any more. To be called before something that takes long, or that the
  // program feels, if much time has gone by.
  virtual void check_wanted() const {}
  // Syncs and checksums every file in location(), writes the manifest and makes the snapshot appear under its
  // reference, atomically. Throws if that fails; then there is no snapshot. To be called once, with the program still
  // in the component's hands where it is to be stopped or killed after the checkpoint.
  virtual void commit(const SnapshotContents& contents) = 0;
};

// Stop: another process is left stopped. A component that works inside of the caller lets it go on as with Continue;
// the service stops it when its layers have been told.
enum class AfterCheckpoint { Continue, Stop, Kill };

// What becomes of TCP connections that lead out of the snapshot: in a restarted program they have been reset by the
// other side, or the checkpoint is refused because of them, or they go on.
enum class TcpPolicy { Reset, Refuse, Keep };

struct CheckpointOptions {
  AfterCheckpoint after = AfterCheckpoint::Continue;
  // Refuse a program that has descendants, instead of taking them, too.
  bool single = false;
  // Exceptions the user made, as given ("fd=7"): what is named may be left out of the snapshot.
  std::vector<std::string> leave_out;
  // Areas whose content is not to be saved: the pages that lie wholly inside read as zero after a restart. Memory that
  // cannot (mapped files, a thread's stack) or that is not there is an error.
  std::vector<MemoryRange> exclude;
  TcpPolicy tcp = TcpPolicy::Reset;
  // Descriptor numbers whose owners in the program close and reopen them after a restart: what cannot be brought back
  // of them, a socket say, comes back dead (of the same family, at the same number) instead of being refused.
  std::vector<int> expendable;
  // The number at which a restarted program is to find RestartOptions::channel, where the program asked for its own
  // checkpoint and waits there for the outcome; -1: none.
  int channel = -1;
  // Called with one line for the person who asked ("delayed by ..."); may be empty.
  std::function<void(const std::string&)> progress;
  // The path of a file, which need not exist, where the component may keep what it wants to know of the running program
  // at its next checkpoint: the same for every checkpoint and restart of one job. It may be lost at any time. Empty:
  // there is none.
  std::string remembered_path;
  // Write only what has changed since an earlier snapshot of the job, as far as the component knows that, and get ready
  // to know it the next time. Where it is not known, everything is written.
  bool incremental = false;
  // With `incremental`: the number of the new snapshot in its job, and the location of the one with a given number;
  // empty if there is none.
  std::uint64_t sequence = 0;
  std::function<std::string(std::uint64_t sequence)> earlier;
  // How to compress, as the user said it: "none", "zstd", "zstd:LEVEL" or "auto"; empty: as the component likes.
  std::string compression{};
  // How many bytes may be written in a second; 0: any number.
  std::uint64_t write_limit = 0;
  // What to keep of the regular files that the program has open: rules as the user said them, "copy" or "copy=GLOB", of
  // which the last that applies to a file counts. Empty: as the component likes.
  std::vector<std::string> files{};
};

struct CheckpointOutcome {
  State state = State::Continue;        // Continue, or Term after Kill
  std::uint64_t pause_nanoseconds = 0;  // how long the program did not run; with Stop and Kill until the commit
};

// What a look at a program found that can be checkpointed.
struct Examination {
  std::uint32_t processes = 0;
  std::uint32_t threads = 0;
  std::uint64_t pause_nanoseconds = 0;  // how long the program did not run
  std::vector<std::string> warnings;    // what a checkpoint would warn of
};

enum class Ids { Automatic, Keep, Namespace, New };
enum class ChangedFiles { Refuse, Accept };
// CLOCK_MONOTONIC and CLOCK_BOOTTIME of a restarted program: from where they were at the checkpoint, in a time
// namespace (time_namespaces(7)) where one can be had, or the machine's.
enum class Clocks { GoOn, OfMachine };

struct RestartOptions {
  Ids ids = Ids::Automatic;
  Clocks clocks = Clocks::GoOn;
  ChangedFiles changed_files = ChangedFiles::Refuse;
  bool detach = false;  // the program must outlive the caller
  // Only checks all that can be checked before there is a process; the result is empty.
  bool check_only = false;
  // The calling process, which must have neither other threads nor children, becomes the program under its own process
  // id. The operation throws in it only while it is still whole, and never returns in it. A component that needs a
  // helper process for that goes on in the helper, which is no relation of the program: there it returns or throws, and
  // whoever called ends the helper soon. A failure after the point of no return ends the caller.
  bool replace_caller = false;
  // A descriptor of the caller's (a unix stream socket) of which the program is to find a duplicate at the number
  // CheckpointOptions::channel; -1: none, and the program reads end of file there. The caller keeps its own: it closes
  // it when the operation is over, to see the program close its duplicate.
  int channel = -1;
  // An existing directory, mode 0700, where the component keeps what it takes out of the user's files (tails cut off).
  // Empty: there is none, and a restart that would have to take something out is an error.
  std::string set_aside_directory;
  std::function<void(const std::string&)> progress;  // one line for a person; may be empty
  std::string remembered_path;  // as in CheckpointOptions, of the job that the program is from now on
  // The file mode creation mask (umask(2)) of a program that begins anew instead of going on where it was. The caller's
  // own may be another one.
  mode_t file_mode_mask = 022;
  // Called with the program's id, as RestartedProgram::pid, just before it runs, when nothing is likely to fail any
  // more: from then on it can be found by its job's name, and a signal to the caller is the program's. May be empty.
  std::function<void(pid_t)> before_start;
  // The program may run before all of its memory is there, if the component and the system can do that unnoticed by the
  // program; what is damaged then ends it, with a report to standard error. Otherwise a note says why it was not done.
  bool lazy = false;
  // Bytes a second that `lazy` brings of what the program has not touched; 0: any number.
  std::uint64_t read_limit = 0;
  // With a cold start, for components that do not read manifests themselves: reads the one at Snapshot::location, fills
  // in the rest, and clears cold_start. May be empty otherwise.
  std::function<void(Snapshot&)> rebuild{};
};

struct CompactOptions {
  std::string compression;        // as in CheckpointOptions
  std::uint64_t write_limit = 0;  // as in CheckpointOptions
};

// A restarted program. It is running when this is returned.
struct RestartedProgram {
  pid_t pid = 0;  // as the caller sees it
  pid_t wait_pid =
      0;  // the caller's child to wait for; its exit status is the program's, or 128+N after signal N. Signals sent to
          // `pid` reach the program. Equals `pid` unless the component put a process between
  std::vector<std::string> notes;  // what the user should know: set-aside files and their places, warnings
  std::vector<Pass> passes;
};

// A command about to be started by `crs run` or a launcher; prelaunch may change every part.
struct LaunchPlan {
  int rank = 0;
  std::string base_directory;  // where snapshots go
  std::string application;     // path or name of the executable
  std::string working_directory;
  std::vector<std::string> arguments;    // argv, [0] included
  std::vector<std::string> environment;  // NAME=VALUE
};

// The eight operations of a checkpointer, and two that not every one has: examine() and compact().
class Module {
 public:
  virtual ~Module() = default;

  // Once, on the selected module only. A failing init aborts the selection with the reason.
  virtual void init() {}
  virtual void finalize() {}

  // Takes a snapshot of process `pid` (0: the caller) into `sink`. On an Error nothing was committed and the program
  // goes on.
  virtual CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) = 0;

  // Starts the program of a committed snapshot again. Everything is validated before the program runs; on an Error
  // nothing is left. With snapshot.cold_start there is nothing but the location: the component reads the manifest and
  // rebuilds the rest, and clears cold_start when it has done so. (A module built for a version before 2.5 is never
  // given a cold start.)
  virtual RestartedProgram restart(Snapshot& snapshot, const RestartOptions& options) = 0;

  // Critical sections. They nest, per registered thread.
  virtual void disable_checkpoint() {}
  virtual void enable_checkpoint() {}

  // Whether checkpoint() of process `pid` with these options would succeed, as far as the program is concerned: throws
  // what it would refuse. Nothing is written, and the program is stopped for no longer than it takes to look at it.
  // Since 2.4: of a module built for an earlier version it is not called.
  virtual Examination examine(pid_t pid, const CheckpointOptions& options) {
    static_cast<void>(pid);
    static_cast<void>(options);
    throw Error(ErrorKind::Failed, "this component cannot tell beforehand what it would refuse");
  }

  // Before a program is started under CRS.
  virtual void prelaunch(LaunchPlan& plan) { static_cast<void>(plan); }

  // Announces the calling thread as one that enters critical sections or calls the service.
  virtual void register_thread() {}

  // Writes what a committed snapshot holds anew into `sink`, complete and without anything that earlier snapshots hold
  // besides; everything is verified on the way. On an Error nothing was committed. Since 2.3: of a module built for an
  // earlier version it is not called.
  virtual void compact(const Snapshot& snapshot, SnapshotSink& sink, const CompactOptions& options) {
    static_cast<void>(sink);
    static_cast<void>(options);
    throw Error(ErrorKind::Failed, "component " + snapshot.component + " writes complete snapshots only");
  }
};

// What a module brings back in a restarted program.
struct Capabilities {
  bool process_ids = false;
  bool threads = false;
  bool pipes = false;
  bool files = false;
  bool local_sockets = false;
  bool outside_connections = false;
  bool other_processes = false;  // can checkpoint a process other than the caller
  // A socket that does not come back is replaced by a dead one at its number, so that the number is nobody else's.
  bool dead_sockets = false;
};

// The answer to "can you work here?": a module with a priority, or why not.
struct QueryResult {
  std::unique_ptr<Module> module;  // null: declined
  int priority = 0;
  std::string reason;  // why declined, or a remark
};

// Where a component says something to the person in charge: one line without a newline. Level 0 is always shown, a
// higher one from that value of the parameter crs_NAME_verbose on.
using ComponentOutput = std::function<void(int level, const std::string& line)>;

// The value of a tunable: its type is that of its default.
using ParameterValue = std::variant<std::string, std::int64_t, bool>;

// A tunable of a component's own. "limit" of component "memo" is the parameter crs_memo_limit.
struct ComponentParameter {
  std::string name;  // small letters, digits and '_'
  ParameterValue default_value;
  std::string description;  // one sentence
};

// The value of a declared parameter, by the name it was declared under; throws an Error for any other name.
using ComponentSettings = std::function<ParameterValue(const std::string& name)>;

class Component {
 public:
  virtual ~Component() = default;
  // Called once, before anything else that may want to say something. Both the component and its module may keep it.
  virtual void set_output(ComponentOutput /*output*/) {}
  virtual std::string name() const = 0;
  virtual std::string version() const = 0;
  virtual InterfaceVersion interface_version() const { return kInterfaceVersion; }
  virtual std::string description() const = 0;
  virtual Capabilities capabilities() const = 0;
  // Must not throw for "not here": that is a declined result with a reason.
  virtual QueryResult query() = 0;
  // Its tunables besides crs_NAME_priority and crs_NAME_verbose. Since 2.1, as is the next.
  virtual std::vector<ComponentParameter> parameters() const { return {}; }
  // Called once, before query(). Both the component and its module may keep it.
  virtual void set_settings(ComponentSettings /*settings*/) {}
};

}  // namespace crs

// Makes a shared object of the component `Type`, once in one of its source files: CRS_COMPONENT(MyComponent). The
// object is looked for in the directories of $CRS_COMPONENT_PATH and then in the installed one. Its version of the
// interface is read before anything of it is called; both names are for the framework only.
#define CRS_COMPONENT(Type)                                                                                     \
  extern "C" __attribute__((visibility("default"))) const crs::InterfaceVersion crs_component_interface{};      \
  extern "C" __attribute__((visibility("default"))) crs::Component* crs_make_component() { return new Type(); } \
  static_assert(true, "takes a semicolon")
