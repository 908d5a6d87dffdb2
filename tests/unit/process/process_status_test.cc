#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ProcessStatusTest, FindsFields) {
  const ProcessStatus status(
      "Name:\tUmask: 7\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGroups:\t \nSigCgt:\tff00000000000000\nNSpid:\t70\t3\n");
  EXPECT_EQ(status.field("Umask"), "0022");
  EXPECT_EQ(status.number("Umask", 8), 022U);
  EXPECT_THAT(status.numbers("Uid"), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(status.numbers("Groups"), IsEmpty());
  EXPECT_EQ(status.hexadecimal("SigCgt"), 0xff00000000000000U);
  EXPECT_EQ(status.field("Sig"), std::nullopt);
  EXPECT_THROW(status.number("Groups"), Error);
  EXPECT_THROW(status.numbers("Missing"), Error);
  EXPECT_THROW(status.numbers("Name"), Error);
}

TEST(ProcessStatusTest, ReadsOwn) {
  EXPECT_EQ(ProcessStatus::of(::getpid()).number("Pid"), static_cast<std::uint64_t>(::getpid()));
  EXPECT_EQ(innermost_id(::getpid()), ::getpid());
}

TEST(ProcessStatusTest, ATaskThatIsGoneIsProgramGone) {
  try {
    ProcessStatus::of(0x3fffffff);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::ProgramGone);
  }
}

}  // namespace
}  // namespace crs::engine
