// A tree of one newborn process.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/newborn/newborn_tree.h"

namespace crs::test {

class OneNewborn {
 public:
  // `prepare` is what the process runs by itself; it returns notes for the user.
  OneNewborn(const engine::IdPlan& plan, pid_t pid, int first_private_descriptor,
             const std::function<std::vector<std::string>()>& prepare)
      : kinship_(tree_of(pid), false),
        work_{.kinship = kinship_,
              .steps = steps_,
              .first_private_descriptor = first_private_descriptor,
              .begin = [] {},
              .complete = [] {},
              .begin_descendant = [](std::size_t) {},
              .lead_session = [](std::size_t) {},
              .prepare = [prepare](std::size_t) { return prepare(); }},
        tree_(plan, work_, steps_) {}

  void start() { tree_.start(); }
  engine::Newborn& process() { return tree_.root(); }
  const engine::Newborn& process() const { return *tree_.processes().front(); }
  const std::vector<std::string>& notes() const { return tree_.notes(); }

 private:
  static image::Tree tree_of(pid_t pid) {
    image::Tree tree;
    tree.add_processes()->set_pid(pid == 0 ? 1 : pid);
    return tree;
  }

  engine::Kinship kinship_;
  engine::Steps steps_;
  engine::FamilyWork work_;
  engine::NewbornTree tree_;
};

}  // namespace crs::test
