// What is known of the processes of a program before they are stopped, and what of their memory has been copied by
// then: everything that need not be part of the pause.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "crs/component.hpp"
#include "engine/pages/held_pages.h"
#include "engine/pages/process_pages.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/threads/remembered_waits.h"
#include "engine/resources/threads/timed_wait.h"
#include "engine/short_stop.h"
#include "engine/tracee/gadgets.h"
#include "engine/tracee/stopped_tree.h"
#include "engine/tracking/incremental.h"

namespace crs::engine {

// Of one process.
struct Survey {
  // `is_stopped`: it cannot go on to where it could be surveyed.
  Survey(pid_t pid, bool is_stopped);

  // Its parent, if it had that one's memory (CLONE_VM of clone(2), vfork(2)); else 0. Of such memory the areas are
  // known of the parent alone.
  pid_t memory_of = 0;
  // As found when it was frozen: others have its memory, or devices may write into it (asynchronous I/O).
  bool written_by_others = false;
  FileDescriptor process;
  Gadgets gadgets;
  MemorySurvey memory;
  WaitsBefore waits;
  std::unique_ptr<ProcessPages> pages;
  std::unique_ptr<ShortStops> stops;
};

// What is known of the memory of processes, by their ids. What of it is no longer true is found out when it is used.
using KnownMemory = std::map<pid_t, MemorySurvey>;

// What of a capture had to be relied upon and was not so, of any process: it is to be done again without.
struct Misjudged {
  bool settings = false;  // of memory
  bool sharing = false;   // who writes into memory: other processes, devices

  bool any() const noexcept { return settings || sharing; }
};

class Surveys {
 public:
  // Of the program whose first process is `root`. All must outlive this.
  Surveys(pid_t root, const CheckpointOptions& options, Incremental& incremental, RememberedWaits& remembered,
          ExtentWriter& writer, std::vector<std::string>& warnings);

  // Before look(): need not be read again where it still fits.
  void use(KnownMemory known) { known_memory_ = std::move(known); }
  // Before look(): how areas are set is asked for while the program stands still, however long that takes.
  void ask_stopped() { ask_stopped_ = true; }
  // Before copy_ahead(): that copies nothing.
  void copy_nothing_ahead() { copies_ahead_ = false; }
  // Leaves nothing to capture.
  KnownMemory take_known_memory();

  // The program runs: looks at every process that is not known yet. Throws what stands in the way of taking one that
  // lives on; the root first.
  void look();
  // The program runs: copies what can be copied of the memory of all processes, also of those that come meanwhile.
  enum class CopyAhead {
    OnlyContinued,  // only of those of which an earlier snapshot has the most
    ReadAtOnce,     // the same, and there is room for reading the others into memory while the program stands still
    Everything,
  };
  void copy_ahead(CopyAhead what);
  // All of the program is stopped. Looks at those that have come since. False: one of them has only just begun, and
  // must run a little before it can be looked at.
  bool look_at_stopped(const StoppedTree& tree);
  // Whether it had better run a little: then one of them may have read the answers to its asynchronous I/O, and what is
  // under way of that can be found out without its answers being out of their place for a moment, in which the end of
  // this process would lose them.
  bool should_read_answers(const StoppedTree& tree);
  // What each thread of it waits for.
  void note_waits(StoppedTree& tree);
  // Another process has the memory of `pid`, or devices may write into it for requests of asynchronous I/O.
  void note_other_writers(pid_t pid) { of(pid).written_by_others = true; }
  // Lets it run, to be stopped once more.
  void let_go_on(StoppedTree& tree);
  // All of the program is, or was, stopped; before any of its pages are finished. Whether who writes into its
  // memory was misjudged.
  bool sharing_misjudged(const StoppedTree& tree) const;
  // Whether a twin lacks what was left to it: an area was not to be copied for a child (MADV_DONTFORK,
  // MADV_WIPEONFORK), and was to be when it was looked at.
  bool twins_misjudged() const;
  // The same of how memory is set, which is asked for anew. Beside whatever the pages need.
  bool settings_misjudged(const StoppedTree& tree) const;
  // Whoever is not of the tree any more leaves nothing in the snapshot.
  void forget_ended(const StoppedTree& tree);

  Survey& of(pid_t pid) { return surveys_.at(pid); }
  // Asked before the stop for what takes time.
  const std::shared_ptr<Surroundings>& surroundings() const noexcept { return surroundings_; }
  // Private memory of all processes, in bytes, as far as it is known.
  std::uint64_t private_bytes() const;
  std::optional<std::uint64_t> elapsed_in_call(pid_t pid, pid_t tid) const;
  // How long processes were stopped before.
  std::chrono::nanoseconds stopped() const;

 private:
  void add(pid_t pid, bool is_stopped);
  MemorySurvey look_at_memory_of(pid_t pid);
  pid_t owner_of_memory(pid_t pid) const;
  static bool is_shared(pid_t pid);
  void look_again();
  template <typename Action>
  void try_with(pid_t pid, Action&& action);
  void forget(pid_t pid);
  std::vector<pid_t> known() const;
  void copy_ahead(pid_t pid, Survey& survey, std::uint64_t least);

  pid_t root_;
  const CheckpointOptions& options_;
  Incremental& incremental_;
  RememberedWaits& remembered_;
  ExtentWriter& writer_;
  std::vector<std::string>& warnings_;
  HeldMemory held_memory_;
  KnownMemory known_memory_;
  bool ask_stopped_ = false;
  bool copies_ahead_ = true;
  std::map<pid_t, Survey> surveys_;
  const std::shared_ptr<Surroundings> surroundings_ = std::make_shared<Surroundings>();
  int stopped_too_early_ = 0;
  int unread_answers_ = 0;  // stops with some
  std::chrono::nanoseconds stopped_{};
};

}  // namespace crs::engine
