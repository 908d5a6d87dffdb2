#include "framework/nearest.h"

#include <gtest/gtest.h>

#include <vector>

namespace crs {
namespace {

TEST(EditDistance, CountsInsertionsDeletionsAndReplacements) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("abc", ""), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("list", "list"), 0U);
  EXPECT_EQ(edit_distance("flaw", "lawn"), 2U);
}

TEST(NearestName, FindsWhatWasMeant) {
  const std::vector<std::string> verbs{"checkpoint", "restart", "list", "show"};
  EXPECT_EQ(nearest_name("chekpoint", verbs), "checkpoint");
  EXPECT_EQ(nearest_name("lsit", verbs), "list");
  EXPECT_EQ(nearest_name("zzzzzzzzzz", verbs), "checkpoint");
  EXPECT_EQ(nearest_name("x", std::vector<std::string>{}), "");
}

TEST(MeantName, IsNoneOfThoseThatAreFar) {
  const std::vector<std::string> verbs{"checkpoint", "restart", "list", "show"};
  EXPECT_EQ(meant_name("lsit", verbs), "list");
  EXPECT_EQ(meant_name("zzzzzzzzzz", verbs), "");
  EXPECT_EQ(meant_name("x", std::vector<std::string>{}), "");
}

TEST(AdviceOnParameter, NamesTheNearestHoweverFar) {
  const std::vector<std::string> known{"crs_wait_limit", "crs"};
  EXPECT_THAT(advice_on_parameter("zzzzzzzzzzzzzzzzzzzz", known),
              ::testing::StartsWith("The nearest one is 'crs_wait_limit'"));
}

}  // namespace
}  // namespace crs
