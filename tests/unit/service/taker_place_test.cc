// A taker that says nothing is given up, and knows it at once.
#include "service/taker_place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crs/error.hpp"
#include "wire/messages.h"

namespace crs {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(TakerPlace, GivesUpATakerThatSaysNothing) {
  auto [ours, theirs] = wire::Connection::make_pair();
  const auto connection = std::make_shared<wire::Connection>(std::move(ours), "the taker");
  wire::Connection taker(std::move(theirs), "the program");
  TakenBy taken_by{.component = "test", .component_version = "1", .interface_version = {}};
  taken_by.answer_limit = 50ms;
  const auto place = make_taker_place(taken_by, "", [&] { return connection; });
  EXPECT_THAT([&] { place->sink().location(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("the taker has not answered"), HasSubstr("crs_snapshot_limit"))));
  // The layers may need a while for the error; nothing may be committed meanwhile.
  EXPECT_TRUE(taker.has_ended());
  EXPECT_TRUE(wire::is<wire::Begin>(taker.receive().message));
  EXPECT_EQ(taker.receive().kind, wire::Received::Kind::End);
}

}  // namespace
}  // namespace crs
