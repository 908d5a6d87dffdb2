#include "cli/checkpoint_interval.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "cli/duration.h"

namespace crs::cli {
namespace {

using std::chrono::duration;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

// The share of the time that is lost with an interval (Daly 2006, equation 20, restart time 0).
double lost(double interval, double cost, double between_failures) {
  return between_failures * std::expm1((interval + cost) / between_failures) / interval - 1;
}

double seconds_of(nanoseconds time) { return duration<double>(time).count(); }

TEST(BestInterval, LosesNoMoreThanAnyOtherWithinAThousandth) {
  for (const double cost : {0.5, 30.0, 600.0}) {
    for (const double failures : {3600.0, 86400.0}) {
      const double chosen =
          seconds_of(best_interval(nanoseconds(std::llround(cost * 1e9)), nanoseconds(std::llround(failures * 1e9))));
      for (double other = cost; other < failures; other *= 1.1) {
        EXPECT_LT(lost(chosen, cost, failures), lost(other, cost, failures) + 1e-3) << cost << " " << failures;
      }
    }
  }
}

TEST(BestInterval, IsYoungsForCheapCheckpoints) {
  EXPECT_NEAR(seconds_of(best_interval(milliseconds(100), hours(24))), std::sqrt(2 * 0.1 * 86400), 0.2);
}

TEST(BestInterval, StaysSensibleAtTheEnds) {
  EXPECT_EQ(best_interval(seconds(300), seconds(60)), seconds(60));
  EXPECT_EQ(best_interval(nanoseconds(0), hours(1)), seconds(1));
}

TEST(Duration, IsReadWithItsUnit) {
  EXPECT_EQ(parse_duration("90"), seconds(90));
  EXPECT_EQ(parse_duration("30s"), seconds(30));
  EXPECT_EQ(parse_duration("1.5m"), seconds(90));
  EXPECT_EQ(parse_duration("250ms"), milliseconds(250));
  EXPECT_EQ(parse_duration("2h"), hours(2));
  EXPECT_EQ(parse_duration("7d"), hours(7 * 24));
  for (const char* wrong :
       {"", "s", "0", "0s", "-1s", "1e3", "1 s", "5x", "nan", "inf", "1s2", "99999999999d", "+1s"}) {
    EXPECT_THROW(parse_duration(wrong), Error) << wrong;
  }
}

TEST(Duration, IsShownInTwoUnits) {
  EXPECT_EQ(human_duration(milliseconds(500)), "0.5 s");
  EXPECT_EQ(human_duration(seconds(30)), "30 s");
  EXPECT_EQ(human_duration(seconds(588)), "9 min 48 s");
  EXPECT_EQ(human_duration(hours(24)), "1 d");
  EXPECT_EQ(human_duration(hours(75) + seconds(59)), "3 d 3 h");
}

}  // namespace
}  // namespace crs::cli
