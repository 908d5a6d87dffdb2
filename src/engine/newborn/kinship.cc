#include "engine/newborn/kinship.h"

#include <algorithm>
#include <csignal>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "engine/newborn/shared_births.h"
#include "engine/newborn/sharing.h"

namespace crs::engine {
namespace {

constexpr pid_t kAny = -1;

void check_members(const image::Tree& tree) {
  std::unordered_set<pid_t> ids;
  for (int i = 0; i < tree.processes_size(); ++i) {
    const image::Process& process = tree.processes(i);
    const bool possible = process.pid() > 0 && process.session().session() >= 0 && process.session().group() >= 0 &&
                          process.exit_signal() <= 64 &&
                          (i == 0 ? process.parent() == 0 && !process.adopted() && !process.zombie()
                                  : process.parent() < static_cast<std::uint32_t>(i)) &&
                          !tree.processes(static_cast<int>(process.parent())).zombie();
    if (!possible || !ids.insert(process.pid()).second)
      fail(ErrorKind::Damaged, "the snapshot has a process {} that cannot be", process.pid());
  }
}

[[noreturn]] void refuse(const image::Process& process) {
  throw Error(ErrorKind::Refused,
              fmt::format("process {} is in session {}, which it can have got neither from its parent nor from a dead "
                          "leader",
                          process.pid(), process.session().session()))
      .advise("This version cannot make such a process again");
}

}  // namespace

Kinship::Kinship(const image::Tree& tree, bool root_leads_session)
    : tree_(tree), root_leads_session_(root_leads_session) {
  check_members(tree);
  for (const image::Process& process : tree.processes()) {
    KinshipMember& member = members_.emplace_back();
    member.pid = process.pid();
    member.adopted = process.adopted();
    member.zombie = process.zombie();
    member.exit_status = static_cast<int>(process.exit_status());
    member.name = process.name();
    member.exit_signal = static_cast<int>(process.exit_signal());
  }
  for (const image::Process& process : tree.processes()) {
    if (process.zombie() && !process.adopted()) members_[process.parent()].zombies.push_back(process.pid());
  }
  arrange_sessions();
  for (std::size_t i = 1; i < born_into_.size(); ++i) arrange_birth(i);
  arrange_groups();
  check_births();
  const Sharing sharing(tree);
  shares_tables_ = sharing.any_table();
  if (sharing.any()) arrange_shared_births(members_, sharing);
}

// Everybody comes from the root: nobody is to be made by one of his own descendants. Each has one birth at most, so
// that this ends.
void Kinship::check_births() const {
  std::vector<std::size_t> born{0};
  for (std::size_t i = 0; i < born.size(); ++i) {
    for (const auto* const births : {&members_[born[i]].births_before_session, &members_[born[i]].births}) {
      for (const Birth& birth : *births) born.push_back(birth.member);
    }
  }
  if (born.size() != members_.size())
    fail(ErrorKind::Damaged, "the snapshot has processes that would have to make one another");
}

bool Kinship::leads_session(std::size_t index) const {
  const image::Process& process = tree_.processes(static_cast<int>(index));
  return process.session().session() == process.pid() && (index != 0 || root_leads_session_);
}

// From the last to the first: whoever leads a session must have been born into the one in which it left its children.
void Kinship::arrange_sessions() {
  const auto count = static_cast<std::size_t>(tree_.processes_size());
  born_into_.resize(count, kAny);
  for (std::size_t i = count; i-- > 0;) {
    const image::Process& process = tree_.processes(static_cast<int>(i));
    members_[i].leads_session = leads_session(i);
    if (!members_[i].leads_session) born_into_[i] = process.session().session();
    const std::size_t parent = process.parent();
    const bool left_behind = i != 0 && !process.adopted() && born_into_[i] != kAny && leads_session(parent) &&
                             is_session_above(parent, born_into_[i]);
    if (left_behind && born_into_[parent] == kAny) born_into_[parent] = born_into_[i];
  }
}

// Of an ancestor, or outside of the process id namespace. Others are of leaders that are dead.
bool Kinship::is_session_above(std::size_t index, pid_t session) const {
  if (session == 0) return true;
  while (index != 0) {
    index = tree_.processes(static_cast<int>(index)).parent();
    if (tree_.processes(static_cast<int>(index)).session().session() == session) return true;
  }
  return false;
}

void Kinship::arrange_birth(std::size_t index) {
  const image::Process& process = tree_.processes(static_cast<int>(index));
  const pid_t session = born_into_[index];
  const std::size_t parent = process.parent();
  const pid_t of_parent = tree_.processes(static_cast<int>(parent)).session().session();
  const BirthWay way = process.adopted() ? BirthWay::Orphan : BirthWay::Child;
  if (session == kAny || session == of_parent) {
    members_[parent].births.push_back({index, way});
  } else if (session == born_into_[parent] && members_[parent].leads_session) {
    members_[parent].births_before_session.push_back({index, way});
  } else {
    const auto leader = std::ranges::find(tree_.processes(), session, &image::Process::pid);
    if (leader == tree_.processes().end()) {
      if (session == 0) refuse(process);
      KinshipMember& helper = members_[helper_of_session(parent, session)];
      if (helper.births.empty()) helper.exit_signal = members_[index].exit_signal;
      helper.births.push_back({index, process.adopted() ? BirthWay::Child : BirthWay::Sibling});
    } else if (process.adopted() && !leader->zombie()) {
      members_[static_cast<std::size_t>(leader - tree_.processes().begin())].births.push_back({index, way});
    } else {
      refuse(process);
    }
  }
}

std::size_t Kinship::add_helper(pid_t pid) {
  KinshipMember& helper = members_.emplace_back();
  helper.pid = pid;
  helper.helper = true;
  helper.exit_signal = SIGCHLD;
  return members_.size() - 1;
}

std::size_t Kinship::helper_of_session(std::size_t parent, pid_t session) {
  for (const Birth& birth : members_[parent].births) {
    if (members_[birth.member].helper && members_[birth.member].pid == session) return birth.member;
  }
  const bool elsewhere = std::ranges::any_of(
      members_, [&](const KinshipMember& member) { return member.helper && member.pid == session; });
  if (elsewhere) {
    throw Error(ErrorKind::Refused,
                fmt::format("session {}, whose leader is dead, has processes with several parents", session))
        .advise("This version cannot make such processes again");
  }
  const std::size_t helper = add_helper(session);
  members_[helper].leads_session = true;
  members_[parent].births.push_back({helper, BirthWay::Child});
  return helper;
}

// Leaders lead when their children are made, so that those are still in the group of the parent's birth.
void Kinship::arrange_groups() {
  std::unordered_map<pid_t, std::size_t> leaders;
  for (std::size_t i = 0; i < members_.size(); ++i) leaders.emplace(members_[i].pid, i);
  const pid_t outer = tree_.processes(0).session().group();
  const auto count = static_cast<std::size_t>(tree_.processes_size());
  for (std::size_t i = 1; i < count; ++i) {
    const pid_t group = tree_.processes(static_cast<int>(i)).session().group();
    if (group == members_[i].pid) {
      members_[i].leads_group = !members_[i].leads_session;
    } else if (group != 0 && group != outer) {
      members_[i].joins_group = group;
      const auto [leader, is_new] = leaders.try_emplace(group, members_.size());
      if (is_new) {
        const std::size_t helper = add_helper(group);
        members_[helper].leads_group = true;
        members_[i].births.push_back({helper, BirthWay::Child});
      } else if (members_[leader->second].helper && !members_[leader->second].leads_session) {
        members_[leader->second].leads_group = true;
      }
    }
  }
}

std::vector<pid_t> Kinship::ids_of_helpers() const {
  std::vector<pid_t> ids;
  for (const KinshipMember& member : members_) {
    if (member.helper) ids.push_back(member.pid);
  }
  return ids;
}

}  // namespace crs::engine
