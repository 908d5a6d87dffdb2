#include "engine/newborn/shared_births.h"

#include <sched.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"

namespace crs::engine {
namespace {

constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

std::string_view name_of_shared(std::uint64_t flag) {
  switch (flag) {
    case CLONE_FILES:
      return "descriptor tables";
    case CLONE_FS:
      return "working directories";
    case CLONE_VM:
      return "memory";
    default:
      return "signal actions";
  }
}

[[noreturn]] void refuse_sharing(const KinshipMember& member, std::uint64_t flag) {
  throw Error(ErrorKind::Refused,
              fmt::format("process {} and others that it is between share {} in a way that their births cannot bring "
                          "about",
                          member.pid, name_of_shared(flag)))
      .advise("This version cannot make such processes again");
}

// Who makes whom.
struct Makers {
  explicit Makers(const std::vector<KinshipMember>& members)
      : of(members.size(), kNone), depth(members.size()), order{0} {
    for (std::size_t i = 0; i < order.size(); ++i) {
      const KinshipMember& maker = members[order[i]];
      for (const std::vector<Birth>* const births : {&maker.births_before_session, &maker.births}) {
        for (const Birth& birth : *births) {
          of[birth.member] = order[i];
          depth[birth.member] = depth[order[i]] + 1;
          order.push_back(birth.member);
        }
      }
    }
  }

  std::size_t common(std::size_t a, std::size_t b) const {
    while (a != b) (depth[a] >= depth[b] ? a : b) = of[depth[a] >= depth[b] ? a : b];
    return a;
  }

  std::vector<std::size_t> of;
  std::vector<std::size_t> depth;
  std::vector<std::size_t> order;  // makers before those that they make
};

// The births under one of the two flags. A table is called by the first process that has it.
class TableBirths {
 public:
  TableBirths(std::vector<KinshipMember>& members, const Makers& makers, const std::vector<std::size_t>& owners,
              std::uint64_t flag)
      : members_(members), flag_(flag), keeps_(members.size(), kNone), born_with_(members.size(), kNone) {
    for (std::size_t i = 0; i < owners.size(); ++i) {
      if (owners[i] != i) keeps_[i] = keeps_[owners[i]] = owners[i];
    }
    // From each that has a table up to the one where all its branches meet.
    std::vector<std::size_t> tops(owners.size(), kNone);
    for (std::size_t i = 0; i < owners.size(); ++i) {
      if (keeps_[i] == kNone) continue;
      std::size_t& top = tops[owners[i]];
      top = top == kNone ? i : makers.common(top, i);
    }
    for (std::size_t i = 0; i < owners.size(); ++i) {
      for (std::size_t at = i; keeps_[i] != kNone && at != tops[owners[i]]; at = makers.of[at]) {
        if (born_with_[at] != kNone && born_with_[at] != owners[i]) refuse_sharing(members_[at], flag_);
        born_with_[at] = owners[i];
      }
    }
  }

  // The tables that `maker` has one after the other, for the sake of its children and at last for its own.
  std::vector<std::size_t> sequence(std::size_t maker) const {
    std::vector<std::size_t> tables;
    const auto add = [&](std::size_t table) {
      if (table != kNone && std::ranges::find(tables, table) == tables.end()) tables.push_back(table);
    };
    add(born_with_[maker]);
    for_each_birth(maker, [&](const Birth& birth) {
      if (born_with_[birth.member] != keeps_[maker]) add(born_with_[birth.member]);
    });
    add(keeps_[maker]);
    if (keeps_[maker] != kNone && tables.back() != keeps_[maker]) refuse_sharing(members_[maker], flag_);
    return tables;
  }

  // Where in that sequence a child is to be made: 0 is before all of them, for one that shares nothing.
  std::size_t place_of(const std::vector<std::size_t>& sequence, const Birth& birth) const {
    const std::size_t table = born_with_[birth.member];
    if (table == kNone) return 0;
    return static_cast<std::size_t>(std::ranges::find(sequence, table) - sequence.begin()) + 1;
  }

  // The births are in order.
  void note(std::size_t maker, const std::vector<std::size_t>& sequence) {
    std::size_t now = 1;
    const auto go_to = [&](std::size_t place, std::uint64_t& leaves) {
      if (place < now) refuse_sharing(members_[maker], flag_);
      if (place > now) leaves |= flag_;
      now = place;
    };
    for (std::vector<Birth>* const births : {&members_[maker].births_before_session, &members_[maker].births}) {
      for (Birth& birth : *births) {
        const std::size_t place = place_of(sequence, birth);
        if (place == 0) continue;
        go_to(place, birth.leaves);
        birth.shares |= flag_;
      }
    }
    if (sequence.empty()) return;
    go_to(sequence.size() + (keeps_[maker] == kNone ? 1 : 0), members_[maker].leaves);
  }

 private:
  template <typename Action>
  void for_each_birth(std::size_t maker, Action&& action) const {
    for (const Birth& birth : members_[maker].births_before_session) action(birth);
    for (const Birth& birth : members_[maker].births) action(birth);
  }

  std::vector<KinshipMember>& members_;
  std::uint64_t flag_;
  std::vector<std::size_t> keeps_;      // of each member, the shared table that it has in the end
  std::vector<std::size_t> born_with_;  // the shared table that it gets from its maker
};

void share_memory(std::vector<KinshipMember>& members, const Sharing& sharing, std::size_t maker, Birth& birth) {
  const std::size_t child = birth.member;
  if (members[child].helper) return;
  const std::size_t memory = sharing.memory_of(child);
  const std::size_t actions = sharing.signal_actions_of(child);
  const bool is_by_parent = !members[maker].helper && birth.way == BirthWay::Child;
  if (memory != child) {
    if (!is_by_parent || sharing.memory_of(maker) != memory) refuse_sharing(members[child], CLONE_VM);
    birth.shares |= CLONE_VM;
  }
  if (actions == child) return;
  if (sharing.signal_actions_of(maker) != actions) refuse_sharing(members[child], CLONE_SIGHAND);
  birth.shares |= CLONE_SIGHAND;
}

}  // namespace

void arrange_shared_births(std::vector<KinshipMember>& members, const Sharing& sharing) {
  const Makers makers(members);
  TableBirths descriptors(members, makers, sharing.descriptors(), CLONE_FILES);
  TableBirths directories(members, makers, sharing.directories(), CLONE_FS);
  for (std::size_t maker = 0; maker < members.size(); ++maker) {
    const std::vector<std::size_t> first = descriptors.sequence(maker);
    const std::vector<std::size_t> second = directories.sequence(maker);
    const auto place = [&](const Birth& birth) {
      return std::pair(descriptors.place_of(first, birth), directories.place_of(second, birth));
    };
    std::ranges::stable_sort(members[maker].births_before_session, {}, place);
    std::ranges::stable_sort(members[maker].births, {}, place);
    descriptors.note(maker, first);
    directories.note(maker, second);
    for (std::vector<Birth>* const births : {&members[maker].births_before_session, &members[maker].births}) {
      for (Birth& birth : *births) share_memory(members, sharing, maker, birth);
    }
  }
}

void refuse_impossible_births(const image::Tree& tree, Refusals& refusals) {
  if (!Sharing(tree).any()) return;
  try {
    const image::Process& root = tree.processes(0);
    const Kinship kinship(tree, root.session().session() == root.pid());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Refused) throw;
    refusals.add(error.chain().front(), "this version cannot make such processes again");
  }
}

}  // namespace crs::engine
