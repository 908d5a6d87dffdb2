// A process that a restart is building, and its end when the restart fails half-way.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "engine/tracee/id_taken.h"
#include "process/one_newborn.h"
#include "process/round_trip.h"

namespace crs::test {
namespace {

TEST(Newborn, EndsWithAllItsThreadsWhenOneCannotHaveItsId) {
  prepare_for_tracing();
  pid_t pid = 0;
  {
    OneNewborn one({.way = engine::IdPlan::Way::Fresh, .note = {}}, 0, 3, [] { return std::vector<std::string>(); });
    one.start();
    engine::Newborn& newborn = one.process();
    newborn.take_over();
    newborn.settle({});
    pid = newborn.pid();
    const pid_t other = newborn.main_thread().clone(0, {});
    // An ordinary user may not choose ids at all, which the kernel says first.
    if (::geteuid() == 0) {
      EXPECT_THROW(newborn.main_thread().clone(other, {}), engine::IdTaken);
    }
    // Its end waits for the threads before the process, or it would wait for ever.
  }
  EXPECT_EQ(::kill(pid, 0), -1);
}

}  // namespace
}  // namespace crs::test
