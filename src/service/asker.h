// Those who ask a program for a checkpoint, at its end of their connections.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "crs/error.hpp"
#include "crs/ledger.hpp"
#include "service/after_fork.h"
#include "wire/connection.h"

namespace crs {

// Whether a process of `user` may: this user's, root's, and in a private directory, which lets nobody else in, also one
// whose user has no id in this user namespace.
bool may_ask(uid_t user, bool in_private_directory);

// A descriptor of the listener's own: the ledger knows it, so that a component may let it die, and a fork closes it.
class Claimed {
 public:
  Claimed(Ledger& ledger, int number)
      : ledger_(ledger), claim_(ledger.claim(number, "crs requests")), guard_(std::in_place, number) {}
  // Closes the number if it is still what was claimed.
  void close() noexcept {
    if (!guard_) return;
    guard_->end_with([this] {
      try {
        static_cast<void>(ledger_.close(claim_));
      } catch (const Error&) {  // somebody has taken the number over: it is theirs
      }
    });
    guard_.reset();
  }

 private:
  Ledger& ledger_;
  Claim claim_;
  std::optional<ClosedAfterFork> guard_;
};

// Somebody who asks. All but `gone` is the loop's thread's until `serving`, and from then on the serving thread's.
struct Client {
  std::shared_ptr<wire::Connection> connection;
  std::unique_ptr<Claimed> claimed;
  wire::Peer peer;
  std::chrono::steady_clock::time_point deadline;
  std::atomic<bool> gone = false;
  std::atomic<bool> ended = false;
  bool serving = false;
  bool taking = false;   // the snapshot is made over this connection
  bool dropped = false;  // belongs to the process before the restart
  std::thread thread;

  void close() {
    if (claimed == nullptr) return;
    claimed->close();
    // The number is closed, or another's.
    connection->release();
    claimed.reset();
  }
};
using ClientPointer = std::shared_ptr<Client>;

}  // namespace crs
