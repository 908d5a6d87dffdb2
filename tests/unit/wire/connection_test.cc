#include "wire/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "base/io.h"
#include "crs/error.hpp"
#include "wire/samples.h"

namespace crs::wire {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Kind = Received::Kind;

class ConnectionTest : public ::testing::Test {
 protected:
  ConnectionTest() {
    auto [ours, theirs] = Connection::make_pair();
    ours_ = Connection(std::move(ours), "the test");
    theirs_ = std::move(theirs);
  }
  void write(std::string_view bytes) { write_all(theirs_.get(), "the socket", as_byte_span(bytes)); }
  static Connection::Time in(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }
  static std::string framed(const std::string& body) {
    const auto size = static_cast<std::uint32_t>(body.size());
    return std::string(reinterpret_cast<const char*>(&size), sizeof size) + body;
  }

  Connection ours_;
  FileDescriptor theirs_;
};

TEST_F(ConnectionTest, CarriesMessagesOfEveryTypeInOrder) {
  Connection other(std::move(theirs_), "the test");
  const auto messages = sample_messages();
  for (const Message& message : messages) other.send(message);
  for (const Message& message : messages) EXPECT_EQ(ours_.receive(in(1s)).message, message);
}

TEST_F(ConnectionTest, CarriesAMessageOfTheGreatestLength) {
  Connection other(std::move(theirs_), "the test");
  Message message = to_message(Location{});
  const std::size_t others = encode(message).size() + 4;  // the longer text's own length takes four bytes more
  message["location"] = std::string(kLongestMessage - others, 'x');
  ASSERT_EQ(encode(message).size(), kLongestMessage);
  std::thread sender([&] { other.send(message); });
  const Received received = ours_.receive(in(10s));
  sender.join();
  EXPECT_EQ(received.message, message);
}

TEST_F(ConnectionTest, WhatThereIsNoRoomForIsSentWhenThePeerReads) {
  Connection other(std::move(theirs_), "the test");
  Message message = to_message(Location{});
  message["location"] = std::string(kLongestMessage / 2, 'x');
  other.start_sending(message);
  EXPECT_FALSE(other.finish_sending(in(20ms)));
  std::thread reader([&] { EXPECT_EQ(ours_.receive(in(10s)).message, message); });
  EXPECT_TRUE(other.finish_sending(in(10s)));
  reader.join();
}

TEST_F(ConnectionTest, APeerThatGoesWithoutReadingWhatIsSentIsAnOrdinaryEnd) {
  Connection other(std::move(theirs_), "the test");
  Message message = to_message(Location{});
  message["location"] = std::string(kLongestMessage / 2, 'x');
  other.start_sending(message);
  ours_.close();
  EXPECT_TRUE(other.finish_sending(in(10s)));
  EXPECT_EQ(other.receive(in(1s)).kind, Kind::End);
  EXPECT_TRUE(other.left_unread());
}

TEST_F(ConnectionTest, AnEndIsSeenBeforeWhatLiesThereIsRead) {
  write(framed("something"));
  EXPECT_FALSE(ours_.has_ended());
  theirs_.reset();
  EXPECT_TRUE(ours_.has_ended());
}

TEST_F(ConnectionTest, WhatIsShutHasEndedForBothAndKeepsItsNumber) {
  const Connection other(std::move(theirs_), "the test");
  ours_.shut();
  EXPECT_TRUE(ours_.has_ended() && other.has_ended() && ours_.number() >= 0);
}

TEST_F(ConnectionTest, AnEndIsAnOrdinaryResult) {
  theirs_.reset();
  EXPECT_EQ(ours_.receive().kind, Kind::End);
  EXPECT_EQ(ours_.receive(in(1s)).kind, Kind::End);
}

TEST_F(ConnectionTest, AnEndWithUnreadMessagesIsAnEnd) {
  ours_.send(to_message(Committed{}));
  theirs_.reset();
  EXPECT_EQ(ours_.receive().kind, Kind::End);
}

TEST_F(ConnectionTest, AnEndInTheMiddleIsAnError) {
  const std::string bytes = framed(encode(to_message(Committed{})));
  for (const std::size_t length : {std::size_t{1}, std::size_t{4}, bytes.size() - 1}) {
    auto [ours, theirs] = Connection::make_pair();
    Connection connection(std::move(ours), "the test");
    write_all(theirs.get(), "the socket", as_byte_span(std::string_view(bytes).substr(0, length)));
    theirs.reset();
    EXPECT_THAT([&] { connection.receive(); }, ThrowsMessage<Error>(HasSubstr("the test ends in the middle")));
  }
}

TEST_F(ConnectionTest, APartialMessageIsKeptOverATimeLimit) {
  const std::string bytes = framed(encode(to_message(Committed{})));
  for (const char byte : bytes.substr(0, bytes.size() - 1)) {
    write({&byte, 1});
    EXPECT_EQ(ours_.receive(in(0s)).kind, Kind::TimedOut);
  }
  write(bytes.substr(bytes.size() - 1));
  EXPECT_TRUE(is<Committed>(ours_.receive(in(1s)).message));
}

TEST_F(ConnectionTest, AnImpossibleLengthIsAnErrorBeforeAnythingIsRead) {
  for (const std::uint32_t length : {std::uint32_t{0}, std::uint32_t{kLongestMessage + 1}, ~std::uint32_t{0}}) {
    auto [ours, theirs] = Connection::make_pair();
    Connection connection(std::move(ours), "the test");
    write_all(theirs.get(), "the socket", std::as_bytes(std::span(&length, 1)));
    EXPECT_THAT([&] { connection.receive(); }, ThrowsMessage<Error>(HasSubstr("at most 8388608 are allowed")));
  }
}

TEST_F(ConnectionTest, AMalformedMessageIsAnError) {
  write(framed("not CBOR"));
  EXPECT_THAT([&] { ours_.receive(); }, ThrowsMessage<Error>(HasSubstr("malformed")));
}

TEST_F(ConnectionTest, SendingToNobodyIsAnErrorAndNoSignal) {
  theirs_.reset();
  EXPECT_THAT([&] { ours_.send(to_message(Committed{})); }, ThrowsMessage<Error>(HasSubstr("closed the connection")));
}

TEST_F(ConnectionTest, KnowsWhoIsAtTheOtherEnd) {
  EXPECT_EQ(ours_.peer().pid, ::getpid());
  EXPECT_EQ(ours_.peer().user, ::geteuid());
}

// A handler without SA_RESTART runs in the thread that waits; the message is received all the same.
TEST_F(ConnectionTest, ASignalDoesNotEndTheWait) {
  struct sigaction action{};
  struct sigaction before{};
  action.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &action, &before);
  const pthread_t waiting = ::pthread_self();
  std::thread other([&] {
    for (int i = 0; i < 50; ++i) {
      ::pthread_kill(waiting, SIGUSR1);
      std::this_thread::yield();
    }
    write(framed(encode(to_message(Committed{}))));
  });
  EXPECT_EQ(ours_.receive().kind, Kind::Arrived);
  other.join();
  ::sigaction(SIGUSR1, &before, nullptr);
}

}  // namespace
}  // namespace crs::wire
