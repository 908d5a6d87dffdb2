// By whom and when processes are made that have one descriptor table, one working directory, or one memory.
#include <gtest/gtest.h>
#include <sched.h>

#include <csignal>

#include "base/error.h"
#include "engine/newborn/kinship.h"

namespace crs::test {
namespace {

// Process 0 is the root; each further one has the parent that is given.
image::Tree tree_with_parents(std::initializer_list<std::uint32_t> parents) {
  image::Tree tree;
  tree.add_processes()->set_pid(100);
  for (const std::uint32_t parent : parents) {
    image::Process& process = *tree.add_processes();
    process.set_pid(100 + tree.processes_size());
    process.set_parent(parent);
    process.set_exit_signal(SIGCHLD);
  }
  return tree;
}

void share_table(image::Tree& tree, std::uint32_t process, std::uint32_t owner) {
  image::SharedTable& table = *tree.mutable_descriptors()->add_shared_tables();
  table.set_process(process);
  table.set_owner(owner);
}

const engine::Birth& birth_of(const engine::Kinship& kinship, std::size_t maker, std::size_t member) {
  for (const engine::Birth& birth : kinship.members().at(maker).births) {
    if (birth.member == member) return birth;
  }
  throw std::runtime_error("no such birth");
}

TEST(SharedBirths, AreNoneWhereNothingIsShared) {
  const engine::Kinship kinship(tree_with_parents({0, 1}), false);
  EXPECT_FALSE(kinship.shares_tables());
  EXPECT_EQ(birth_of(kinship, 0, 1).shares, 0U);
}

// A forged tree: the orphan 1 is of the session that its own child 2 leads.
TEST(SharedBirths, NobodyIsMadeByHisOwnDescendant) {
  for (const bool shares : {false, true}) {
    image::Tree tree = tree_with_parents({0, 1});
    const auto session = static_cast<std::int32_t>(tree.processes(2).pid());
    tree.mutable_processes(1)->set_adopted(true);
    for (const int process : {1, 2}) tree.mutable_processes(process)->mutable_session()->set_session(session);
    if (shares) share_table(tree, 2, 1);
    EXPECT_THROW(engine::Kinship(tree, false), Error);
  }
}

TEST(SharedBirths, AChildGetsItsParentsTable) {
  image::Tree tree = tree_with_parents({0, 0});
  share_table(tree, 2, 0);
  tree.mutable_processes(2)->mutable_attributes()->set_directories_of(0);
  const engine::Kinship kinship(tree, false);
  EXPECT_TRUE(kinship.shares_tables());
  EXPECT_EQ(birth_of(kinship, 0, 1).shares, 0U);
  EXPECT_EQ(birth_of(kinship, 0, 2).shares, std::uint64_t{CLONE_FILES | CLONE_FS});
  EXPECT_EQ(birth_of(kinship, 0, 2).leaves, 0U);
  EXPECT_EQ(kinship.members()[0].leaves, 0U);
}

TEST(SharedBirths, WhoStandsBetweenLeavesTheTable) {
  image::Tree tree = tree_with_parents({0, 1});
  share_table(tree, 2, 0);
  const engine::Kinship kinship(tree, false);
  EXPECT_EQ(birth_of(kinship, 0, 1).shares, std::uint64_t{CLONE_FILES});
  EXPECT_EQ(birth_of(kinship, 1, 2).shares, std::uint64_t{CLONE_FILES});
  EXPECT_EQ(kinship.members()[0].leaves, 0U);
  EXPECT_EQ(kinship.members()[1].leaves, std::uint64_t{CLONE_FILES});
}

// Children 1 and 3 have one table, 2 and 4 another, 5 has the parent's.
TEST(SharedBirths, SeveralTablesOfChildrenComeOneAfterTheOther) {
  image::Tree tree = tree_with_parents({0, 0, 0, 0, 0});
  share_table(tree, 3, 1);
  share_table(tree, 4, 2);
  share_table(tree, 5, 0);
  const engine::Kinship kinship(tree, false);
  std::vector<std::size_t> order;
  std::vector<std::uint64_t> left;
  for (const engine::Birth& birth : kinship.members()[0].births) {
    order.push_back(birth.member);
    left.push_back(birth.leaves);
    EXPECT_EQ(birth.shares, std::uint64_t{CLONE_FILES});
  }
  EXPECT_EQ(order, (std::vector<std::size_t>{1, 3, 2, 4, 5}));
  EXPECT_EQ(left, (std::vector<std::uint64_t>{0, 0, CLONE_FILES, 0, CLONE_FILES}));
  EXPECT_EQ(kinship.members()[0].leaves, 0U);
}

// The child between would have to hold two tables at once: its parent's for one grandchild, and from its birth on its
// sibling's for another.
TEST(SharedBirths, AreRefusedWhereOneProcessWouldNeedTwoTablesAtItsBirth) {
  image::Tree tree = tree_with_parents({0, 0, 1, 1});
  share_table(tree, 3, 0);
  share_table(tree, 4, 2);
  try {
    engine::Kinship(tree, false);
    FAIL() << "it can be made";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Refused);
  }
}

TEST(SharedBirths, WhatCannotBeIsDamage) {
  image::Tree tree = tree_with_parents({0, 0});
  share_table(tree, 1, 2);
  EXPECT_THROW(engine::Kinship(tree, false), Error);
}

void share_memory(image::Tree& tree, int process, std::uint32_t owner) {
  tree.mutable_processes(process)->mutable_memory()->set_same_as(owner);
}

void share_actions(image::Tree& tree, int process, std::uint32_t owner) {
  tree.mutable_processes(process)->mutable_signals()->set_actions_of(owner);
}

ErrorKind kind_of_failure(const image::Tree& tree) {
  try {
    engine::Kinship(tree, false);
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "it can be made";
  return ErrorKind::Failed;
}

// 1 has the root's memory, 2 (by 1) memory and signal actions of 1, 3 nothing of anybody.
TEST(SharedBirths, OfMemoryAreByParents) {
  image::Tree tree = tree_with_parents({0, 1, 1});
  share_memory(tree, 1, 0);
  share_memory(tree, 2, 0);
  share_actions(tree, 2, 1);
  const engine::Kinship kinship(tree, false);
  EXPECT_FALSE(kinship.shares_tables());
  EXPECT_EQ(birth_of(kinship, 0, 1).shares, std::uint64_t{CLONE_VM});
  EXPECT_EQ(birth_of(kinship, 1, 2).shares, std::uint64_t{CLONE_VM | CLONE_SIGHAND});
  EXPECT_EQ(birth_of(kinship, 1, 3).shares, 0U);
}

TEST(SharedBirths, OfMemoryThatTheParentHasNotAreRefused) {
  image::Tree siblings = tree_with_parents({0, 0});
  share_memory(siblings, 2, 1);
  EXPECT_EQ(kind_of_failure(siblings), ErrorKind::Refused);
  image::Tree grandchild = tree_with_parents({0, 1});
  share_memory(grandchild, 2, 0);
  EXPECT_EQ(kind_of_failure(grandchild), ErrorKind::Refused);
  image::Tree orphan = tree_with_parents({0});
  share_memory(orphan, 1, 0);
  orphan.mutable_processes(1)->set_adopted(true);
  EXPECT_EQ(kind_of_failure(orphan), ErrorKind::Refused);
}

// Forged.
TEST(SharedBirths, OfWhatIsNotSharedCannotBe) {
  image::Tree with_own = tree_with_parents({0});
  share_memory(with_own, 1, 0);
  with_own.mutable_processes(1)->mutable_memory()->add_areas();
  EXPECT_EQ(kind_of_failure(with_own), ErrorKind::Damaged);
  image::Tree of_itself = tree_with_parents({0});
  share_memory(of_itself, 1, 1);
  EXPECT_EQ(kind_of_failure(of_itself), ErrorKind::Damaged);
  image::Tree of_nobody = tree_with_parents({0});
  share_memory(of_nobody, 1, 7);
  EXPECT_EQ(kind_of_failure(of_nobody), ErrorKind::Damaged);
  image::Tree without_memory = tree_with_parents({0});
  share_actions(without_memory, 1, 0);
  EXPECT_EQ(kind_of_failure(without_memory), ErrorKind::Damaged);
  image::Tree with_actions = tree_with_parents({0});
  share_memory(with_actions, 1, 0);
  share_actions(with_actions, 1, 0);
  with_actions.mutable_processes(1)->mutable_signals()->add_actions();
  EXPECT_EQ(kind_of_failure(with_actions), ErrorKind::Damaged);
}

}  // namespace
}  // namespace crs::test
