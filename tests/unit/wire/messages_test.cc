#include "wire/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <span>

#include "base/io.h"
#include "message_target.h"
#include "wire/samples.h"

namespace crs::wire {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Message sample(const char* type) {
  for (const Message& message : sample_messages()) {
    if (type_of(message) == type) return message;
  }
  throw std::out_of_range(type);
}

template <typename Type>
void expect_lossless() {
  const Message message = sample(Type::kType);
  EXPECT_EQ(to_message(from<Type>(decode(encode(message)))), message) << Type::kType;
}

TEST(Messages, EveryTypeComesBackAsItWas) {
  expect_lossless<Begin>();
  expect_lossless<Location>();
  expect_lossless<Commit>();
  expect_lossless<Committed>();
  expect_lossless<Picture>();
  expect_lossless<Outcome>();
  expect_lossless<Failure>();
  expect_lossless<Layers>();
  expect_lossless<Restarted>();
  expect_lossless<Request>();
  expect_lossless<Progressed>();
}

TEST(Messages, AnErrorCrossesWithItsKindChainAndAdvice) {
  const Error error = from<Failure>(sample("failure")).error;
  EXPECT_EQ(error.kind(), ErrorKind::Refused);
  EXPECT_STREQ(error.what(), "no (on fd 7). close it");
}

// What a program's code may say at any length has room in a message all the same.
TEST(Messages, ManyLayersAreToldByThoseThatTookLongest) {
  Layers many;
  for (std::uint64_t i = 0; i < 100'000; ++i)
    many.times.push_back({"layer " + std::to_string(i), i % 2 == 0 ? State::Restart : State::RestartPre, i});
  many.failures = {std::string(kLongestMessage, 'x')};
  const Layers told = from<Layers>(decode(encode(to_message(many))));
  ASSERT_GT(told.times.size(), 1000U);
  ASSERT_LT(told.times.size(), 100'000U);
  const auto others = std::span(told.times).last(2);
  EXPECT_THAT(others[0].layer, HasSubstr("others)"));
  EXPECT_NE(others[0].state, others[1].state);
  const auto sum = [](const std::vector<LayerTime>& times) {
    return std::accumulate(times.begin(), times.end(), std::uint64_t{0},
                           [](std::uint64_t all, const LayerTime& one) { return all + one.nanoseconds; });
  };
  EXPECT_EQ(sum(told.times), sum(many.times));
  EXPECT_EQ(told.times[told.times.size() - 3].layer, "layer 99999");
  ASSERT_EQ(told.failures.size(), 1U);
  EXPECT_THAT(told.failures.front(), ::testing::StartsWith("xxxx"));
}

TEST(Messages, AnErrorOfAnyLengthKeepsItsFirstCause) {
  Error error(ErrorKind::Refused, "the first cause");
  error.add_context(std::string(kLongestMessage, 'c')).advise(std::string(kLongestMessage, 'a'));
  constexpr std::size_t kRefusals = 100'000;
  error.list(
      std::vector<Refusal>(kRefusals, {"descriptor 7 of process 8, which is long enough to matter", "Close it"}));
  const Error told = from<Failure>(decode(encode(to_message(Failure{error})))).error;
  EXPECT_EQ(told.kind(), ErrorKind::Refused);
  ASSERT_EQ(told.chain().size(), 2U);
  EXPECT_EQ(told.chain().front(), "the first cause");
  EXPECT_THAT(told.chain().back(), ::testing::EndsWith("ccc ..."));
  EXPECT_THAT(told.advice(), ::testing::EndsWith("aaa ..."));
  ASSERT_GT(told.refusals().size(), 2U);
  EXPECT_EQ(told.refusals().front().what, error.refusals().front().what);
  EXPECT_EQ(told.refusals().back().what, std::to_string(kRefusals - told.refusals().size() + 1) + " more");
  // And one that fits is whole.
  error = Error(ErrorKind::Failed, std::string(kLongestMessage / 16, 'x'));
  EXPECT_STREQ(from<Failure>(decode(encode(to_message(Failure{error})))).error.what(), error.what());
}

TEST(Messages, ProgressOfAnyLengthHasRoom) {
  const Progressed long_one{{Progress::Stage::Delayed, std::string(2 * kLongestMessage, 'x')}};
  EXPECT_THAT(from<Progressed>(decode(encode(to_message(long_one)))).progress.text, ::testing::StartsWith("xxxx"));
}

TEST(Messages, AMissingMemberIsNamed) {
  const auto expect_named = [](const Message& good, const auto& read) {
    for (const auto& [name, value] : good.items()) {
      if (name == "type" || name == "version") continue;
      if (name == "time_limit" && type_of(good) == "picture") continue;  // an older libcrs does not say
      if (name == "end_limit") continue;                                 // likewise
      Message without = good;
      without.erase(name);
      EXPECT_THAT([&] { read(without); }, ThrowsMessage<Error>(HasSubstr("lacks " + name)));
    }
  };
  expect_named(sample("begin"), [](const Message& message) { from<Begin>(message); });
  expect_named(sample("commit"), [](const Message& message) { from<Commit>(message); });
  expect_named(sample("picture"), [](const Message& message) { from<Picture>(message); });
  expect_named(sample("restarted"), [](const Message& message) { from<Restarted>(message); });
  expect_named(sample("request"), [](const Message& message) { from<Request>(message); });
}

TEST(Messages, APictureFromAnOlderLibraryHasNoTimeLimit) {
  Message message = sample("picture");
  EXPECT_EQ(from<Picture>(message).time_limit, std::chrono::seconds(7));
  message["time_limit"] = -1;
  EXPECT_THAT([&] { from<Picture>(message); }, ThrowsMessage<Error>(HasSubstr("time_limit of 'picture'")));
  message.erase("time_limit");
  EXPECT_EQ(from<Picture>(message).time_limit, std::nullopt);
}

TEST(Messages, ACommitFromAnOlderLibraryHasNoTimeLimit) {
  Message message = sample("commit");
  EXPECT_EQ(from<Commit>(message).end_limit, std::chrono::seconds(6));
  message["end_limit"] = -1;
  EXPECT_THAT([&] { from<Commit>(message); }, ThrowsMessage<Error>(HasSubstr("end_limit of 'commit'")));
  message.erase("end_limit");
  EXPECT_EQ(from<Commit>(message).end_limit, std::nullopt);
}

TEST(Messages, AMemberOfTheWrongKindOrRangeIsNamed) {
  for (const Message& wrong : {Message(-1), Message("3"), Message(std::uint64_t{1} << 40), Message(1.5), Message()}) {
    Message message = sample("picture");
    message["channel"] = wrong;
    EXPECT_THAT([&] { from<Picture>(message); }, ThrowsMessage<Error>(HasSubstr("channel of 'picture'"))) << wrong;
  }
  Message message = sample("layers");
  message["times"][1]["state"] = "asleep";
  EXPECT_THAT([&] { from<Layers>(message); }, ThrowsMessage<Error>(HasSubstr("state of 'layers.times'")));
  message = sample("request");
  message["exclude"][0]["start"] = 9000U;
  EXPECT_THAT([&] { from<Request>(message); }, ThrowsMessage<Error>(HasSubstr("end of 'request.exclude'")));
  message = sample("outcome");
  message["state"] = "restart";
  EXPECT_THAT([&] { from<Outcome>(message); }, ThrowsMessage<Error>(HasSubstr("state of 'outcome'")));
}

TEST(Messages, AnotherTypeThanExpectedIsAnErrorAndAFailureIsThrown) {
  EXPECT_THAT([] { expect<Outcome>(sample("layers")); },
              ThrowsMessage<Error>(HasSubstr("sent 'layers' where 'outcome' was to come")));
  EXPECT_THAT([] { expect<Outcome>(sample("failure")); }, ThrowsMessage<Error>(HasSubstr("no (on fd 7)")));
  EXPECT_EQ(expect<Failure>(sample("failure")).error.kind(), ErrorKind::Refused);
}

TEST(Frame, AnotherVersionIsRefusedWithBothNamed) {
  Message message = sample("outcome");
  message["version"] = 7;
  EXPECT_THAT([&] { decode(encode(message)); },
              ThrowsMessage<Error>(HasSubstr("speaks version 7 of the protocol, this one version 1")));
  message.erase("version");
  EXPECT_THAT([&] { decode(encode(message)); }, ThrowsMessage<Error>(HasSubstr("names no version")));
}

TEST(Frame, WhatIsNoMapWithATypeIsMalformed) {
  const auto refuses = [](const std::string& bytes, const char* why) {
    EXPECT_THAT([&] { decode(bytes); }, ThrowsMessage<Error>(HasSubstr(why))) << why;
  };
  refuses("", "ends too early");
  refuses("\x01", "no map");
  refuses(encode(Message::array({1, 2})), "no map");
  refuses(encode({{"version", 1}}), "no type");
  refuses(encode({{"version", 1}, {"type", 3}}), "no type");
  refuses(encode(sample("layers")) + "x", "follows");
  refuses("\x9f\x01\xff", "a length is not given");
  refuses("\xc0\x61x", "tag");
  refuses("\xa1\x01\x02", "no map");                                 // a key that is no text
  refuses("\x7b\xff\xff\xff\xff\xff\xff\xff\xff", "too early");      // a text of 2^64-1 bytes
  refuses("\x9b\x10\x00\x00\x00\x00\x00\x00\x00\x01", "too early");  // a list of 2^60 items
}

// Both would exhaust the stack of a reader that calls itself.
TEST(Frame, DeepNestingIsRefusedNotFollowed) {
  EXPECT_THAT([] { decode(std::string(kLongestMessage, '\x81')); }, ThrowsMessage<Error>(HasSubstr("too deeply")));
  EXPECT_THAT([] { decode(std::string(kLongestMessage, '\x7f')); }, ThrowsMessage<Error>(HasSubstr("not given")));
}

TEST(Frame, ALongerMessageThanAllowedIsNotWritten) {
  Message message = sample("location");
  message["location"] = std::string(kLongestMessage, 'x');
  EXPECT_THAT([&] { encode(message); }, ThrowsMessage<Error>(HasSubstr("too long")));
}

// The seeds of the fuzz target, and each of them with one byte changed or its end cut off. The target ends the process
// on a fault.
TEST(FuzzReplay, Message) {
  int inputs = 0;
  for (const auto& seed : std::filesystem::directory_iterator(std::string(CRS_FUZZ_SEEDS) + "/message")) {
    const std::string good = read_file(seed.path());
    decode(good);  // sound
    for (std::size_t i = 0; i < good.size(); ++i) {
      exercise_message_reader(std::string_view(good).substr(0, i));
      for (const int change : {0x01, 0x80, 0xff}) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ change);
        exercise_message_reader(bad);
        ++inputs;
      }
    }
  }
  EXPECT_GT(inputs, 1000);
}

}  // namespace
}  // namespace crs::wire
