// T4, T7, T9, T10 and T11 of the service's contract, with the real engine: layers with listeners and connections are
// killed and restarted, over and over; a thread that waits in a read of a layer's socket is told of its end; the
// wake-up channel of an event loop keeps its header.
#include <gtest/gtest.h>

#include <cstdlib>

#include "native_layers/program.h"

namespace crs::testing {
namespace {

constexpr int kMessages = 1000;  // each way

// Of each layout with each number of inherited descriptors: with four layouts more than 50 for each of those numbers.
// CRS_TEST_ROUNDS=50 is the long version.
int rounds() {
  const char* const wanted = std::getenv("CRS_TEST_ROUNDS");
  return wanted != nullptr ? std::atoi(wanted) : 13;
}

class NativeLayers : public ::testing::TestWithParam<Layout> {};

TEST_P(NativeLayers, SurviveSigkillAndRestart) {
  const EchoServer server;
  for (const int inherited : {0, 1, 5}) {
    Subject subject(GetParam(), kMessages, server.name());
    EXPECT_EQ(subject.round(false, 0), "") << "going on";
    for (int round = 0; round < rounds(); ++round)
      ASSERT_EQ(subject.round(true, inherited), "") << "round " << round << ", " << inherited << " inherited";
    EXPECT_EQ(subject.round(false, 0), "") << "going on after restarts";
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, NativeLayers,
                         ::testing::Values(Layout::LowerFirst, Layout::UpperFirst, Layout::LowerOpensMore,
                                           Layout::LogInBetween));

}  // namespace
}  // namespace crs::testing
