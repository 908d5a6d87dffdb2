// Which descriptor number belongs to which layer, and whether the object behind it is still the one that the layer
// opened.
//
// After a restart a number may be free, or somebody else's: whoever closes it blindly may close another layer's live
// socket. So layers claim their descriptors here, and close them through the ledger, which looks first. C++17; safe for
// use by several threads.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace [[gnu::visibility("default")]] crs {

struct Capabilities;

// The object behind a descriptor number, as far as fstat(2) and /proc/self/fd tell it from others.
struct DescriptorIdentity {
  enum class Kind { File, Directory, Pipe, Socket, Device, Anonymous };
  Kind kind = Kind::File;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::string anonymous;  // Kind::Anonymous: "anon_inode:[eventfd]"; these share one inode

  bool operator==(const DescriptorIdentity& other) const;
  bool operator!=(const DescriptorIdentity& other) const { return !(*this == other); }
};

const char* name_of(DescriptorIdentity::Kind kind) noexcept;

// The identity of an open number; nothing if it is free.
std::optional<DescriptorIdentity> identify_descriptor(int number);

// A claim on one number: handed out by Ledger::claim, given back to its other operations. A copy is the same claim.
struct Claim {
  int number = -1;
  std::uint64_t generation = 0;  // never used twice within a program, its restarts included
};

// Somebody who reads or waits through a claimed number without owning it: an entry in a poll set, an epoll
// registration.
struct Use {
  Claim claim;
  std::uint64_t id = 0;
};

// In a restarted process all threads go on at once, and the service compares what is there with its census as the
// first thing. A thread that asks in the instant before, about a number that is claimed, waits for that: a descriptor
// that was made anew is its owner's. Nobody waits in the process that goes on.
class Ledger {
 public:
  // How long such a thread waits at most: then what it has called throws an Error, and has done nothing. As long as it
  // takes, if never called.
  void limit_waits(std::chrono::nanoseconds limit);

  // Notes that `owner` owns the open descriptor `number` from now on. Throws an Error if the number is not open, or if
  // another owner has a claim on it that still holds.
  Claim claim(int number, std::string owner);

  // Whether the claim holds and the object behind the number is the one that was claimed (or that the checkpointer put
  // back for it).
  bool is_mine(const Claim& claim) const;

  // Closes the number if is_mine(), and ends the claim in any case. False: there was nothing of the claimant's to
  // close. Throws an Error, and does nothing, for a claim that a later one replaced or that was ended before (an owner
  // that acts on it has a defect), and while somebody still uses the number: an epoll registration outlives the number
  // where the object does (epoll(7), Q6).
  bool close(const Claim& claim);

  // Ends the claim without closing. Throws like close().
  void release(const Claim& claim);

  // Notes that `user` reads or waits through the number from now on. Throws an Error if the claim does not hold.
  Use add_use(const Claim& claim, std::string user);
  // Whether the use stands and its claim is_mine(): to be asked before each read.
  bool is_usable(const Use& use) const;
  // Ends it; of a use that ended with its claim, nothing.
  void end_use(const Use& use);

  // The owner of a number, or "" if nobody claims it.
  std::string owner_of(int number) const;

  // How many claims there are.
  std::size_t size() const;

  // The claimed numbers, in order: those whose owners close and reopen them after a restart.
  std::vector<int> numbers() const;

  // For the service: takes down what is behind every claimed number, to be called when all layers are ready for the
  // snapshot. Claims whose number has become free or something else meanwhile no longer hold. From now on, until
  // end_census() or compare_after_restart(), `is_restarted` says whether this process is one that the snapshot has
  // become; any thread may ask it. Empty: it cannot be.
  void take_census(std::function<bool()> is_restarted = {});

  // For the service, in the process that goes on, and where there is no snapshot.
  void end_census();

  // For the service, in a restarted process, before any layer runs: keeps the claims whose object came back (the same
  // object; or for kinds that get a new identity and that the checkpointer says it brings back, an object of that
  // kind). The others no longer hold: their numbers are forgotten, not closed. Returns "descriptor 7 of layer 'btl'
  // (socket)" for each of those.
  std::vector<std::string> compare_after_restart(const Capabilities& brought_back);

 private:
  struct Entry {
    std::uint64_t generation = 0;
    std::string owner;
    DescriptorIdentity identity;
    bool holds = true;
    std::map<std::uint64_t, std::string> uses = {};
  };

  // Of a claim that is the last one made on its number; throws otherwise.
  const Entry& entry_of(const Claim& claim, const char* operation) const;
  // Throws while somebody uses the number.
  static void require_unused(const Claim& claim, const Entry& entry, const char* operation);
  bool is_mine_locked(const Claim& claim, std::unique_lock<std::mutex>& lock) const;
  // Whether there is an entry of the number that holds, and what is behind the number: by one look. In a restarted
  // process it is waited with until the service has compared.
  struct Holding {
    bool holds = false;
    std::optional<DescriptorIdentity> identity;
  };
  Holding look(int number, std::unique_lock<std::mutex>& lock) const;
  // Throws at the time limit.
  void await_comparison(int number, std::unique_lock<std::mutex>& lock) const;

  struct Census {
    std::uint64_t number = 0;
    std::thread::id taker;  // will compare
    std::uint64_t fork_generation = 0;
    std::function<bool()> is_restarted;
  };
  bool must_be_compared_by_another() const;

  mutable std::mutex mutex_;
  mutable std::condition_variable compared_;
  std::optional<Census> census_;  // that has not ended
  std::chrono::nanoseconds wait_limit_ = std::chrono::nanoseconds::max();
  std::uint64_t last_generation_ = 0;
  std::uint64_t last_use_ = 0;
  std::uint64_t last_census_ = 0;
  mutable std::map<int, Entry> entries_;  // a question may show that a claim holds no longer
};

}  // namespace crs
