// In which order, and by whom, the processes of a tree are made again, so that each has its parent, its session and its
// process group (credentials(7), setsid(2), setpgid(2)).
//
// A process inherits the session of the one that makes it, and can only leave it by leading a new one. So a child that
// is still in the session that its parent has left is made before the parent's setsid(2). A session or group whose
// leader is dead gets a helper with the leader's id, which makes the processes of that session as children of its own
// parent (CLONE_PARENT) and ends when everything is in place. Orphans are made by a helper that ends at once.
//
// A descriptor table or working directory is shared from a birth on, too (shared_births.h).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/image/process.pb.h"

namespace crs::engine {

// How a process is made by the one that makes it.
enum class BirthWay {
  Child,
  Sibling,  // CLONE_PARENT: the child of its maker's parent
  Orphan,   // by a helper that ends at once
};

struct Birth {
  std::size_t member = 0;  // index in Kinship::members()
  BirthWay way = BirthWay::Child;
  // CLONE_FILES and CLONE_FS: what its maker leaves before (unshare(2)), and what it has in common with its maker;
  // besides CLONE_VM and CLONE_SIGHAND, which nobody can leave.
  std::uint64_t leaves = 0;
  std::uint64_t shares = 0;
};

// A process of the tree, or a helper.
struct KinshipMember {
  pid_t pid = 0;
  bool helper = false;  // else the process with this index in the image
  bool adopted = false;
  bool zombie = false;
  int exit_status = 0;  // of a zombie, as wait(2) gives it
  std::string name;     // of a zombie, as /proc/PID/comm shows it
  int exit_signal = 0;
  bool leads_session = false;
  bool leads_group = false;
  pid_t joins_group = 0;                     // 0: stays in that it was born into
  std::vector<Birth> births_before_session;  // before it leads its session, if it does
  std::vector<Birth> births;
  std::uint64_t leaves = 0;    // after these, as in Birth
  std::vector<pid_t> zombies;  // its children that are
};

class Kinship {
 public:
  // `root_leads_session`: the root leads its session again; otherwise that one, and its group, are the restart
  // command's. Throws what cannot be: Damaged if no tree can be so, Refused if this version cannot make it.
  Kinship(const image::Tree& tree, bool root_leads_session);

  // Those of the image first, by their index there.
  const std::vector<KinshipMember>& members() const noexcept { return members_; }
  // Whether processes have one descriptor table or one working directory: nobody prepares them but one, and that last.
  bool shares_tables() const noexcept { return shares_tables_; }
  // The ids of sessions and groups whose leaders are dead.
  std::vector<pid_t> ids_of_helpers() const;

 private:
  void arrange_sessions();
  void arrange_birth(std::size_t index);
  void arrange_groups();
  void check_births() const;
  std::size_t helper_of_session(std::size_t parent, pid_t session);
  std::size_t add_helper(pid_t pid);
  bool leads_session(std::size_t index) const;
  bool is_session_above(std::size_t index, pid_t session) const;

  const image::Tree& tree_;
  bool root_leads_session_;
  bool shares_tables_ = false;
  std::vector<KinshipMember> members_;
  std::vector<pid_t> born_into_;  // of each process, the session that it must be born into; kAny
};

}  // namespace crs::engine
