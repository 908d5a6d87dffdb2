#include "engine/resources/processor/processor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace crs::engine {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ProcessorTest, TakesFromCpuinfoWhatProgramsCanUse) {
  EXPECT_THAT(
      features_in("processor\t: 0\nflags\t\t: fpu sse2 avx2 erms smep avx512f\nbugs: avx\n\nflags\t\t: sha_ni\n"),
      ElementsAre("avx2", "avx512f"));
  EXPECT_TRUE(features_in("").empty());
}

TEST(ProcessorTest, ThisMachineSatisfiesItself) { EXPECT_NO_THROW(check_processor(processor_features())); }

TEST(ProcessorTest, StateOfVectorRegistersHasItsPlace) {
  if (__builtin_cpu_supports("avx")) {
    // The Intel and AMD manuals fix this one: AVX state stands at 576.
    EXPECT_THAT(processor_features(), Contains("xstate2@576+256"));
  }
}

TEST(ProcessorTest, NamesWhatIsMissing) {
  try {
    check_processor({"avx2", "avx512f", "made_up", "xstate5@1088+64"}, {"avx2", "xstate2@576+256"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Refused);
    EXPECT_THAT(error.what(), HasSubstr("avx512f, made_up, xstate5@1088+64"));
    EXPECT_THAT(error.what(), Not(HasSubstr("avx2,")));
  }
  EXPECT_NO_THROW(check_processor({"avx2"}, {"avx", "avx2", "avx512f"}));
}

}  // namespace
}  // namespace crs::engine
