#include "crs/ledger.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "base/cancellation.h"
#include "base/error.h"
#include "crs/component.hpp"
#include "service/after_fork.h"
#include "service/limited_wait.h"

namespace crs {
namespace {

using Kind = DescriptorIdentity::Kind;

std::string link_of(int number) {
  std::array<char, 128> target{};  // "anon_inode:[...]" is short; of longer links the beginning is not asked for
  const ssize_t length = ::readlink(fmt::format("/proc/self/fd/{}", number).c_str(), target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : std::string();
}

Kind kind_of(const struct stat& status, const std::string& link) {
  if (link.starts_with("anon_inode:")) return Kind::Anonymous;
  if (S_ISSOCK(status.st_mode)) return Kind::Socket;
  if (S_ISFIFO(status.st_mode)) return Kind::Pipe;
  if (S_ISDIR(status.st_mode)) return Kind::Directory;
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) return Kind::Device;
  return Kind::File;
}

// Pipes, sockets, memory files and devices such as terminals are made anew by a restart, and a file may have been
// replaced or be another machine's copy: they have another inode afterwards. The component says what it put there.
bool came_back(const DescriptorIdentity& before, const DescriptorIdentity& now, const Capabilities& brought_back) {
  if (before == now) return true;
  if (before.kind != now.kind) return false;
  switch (before.kind) {
    case Kind::Pipe:
      return brought_back.pipes;
    case Kind::Socket:
      return brought_back.local_sockets || brought_back.outside_connections || brought_back.dead_sockets;
    case Kind::Anonymous:
      return brought_back.files && before.anonymous == now.anonymous;
    case Kind::File:
    case Kind::Directory:
    case Kind::Device:
      return brought_back.files;
  }
  return false;
}

}  // namespace

bool DescriptorIdentity::operator==(const DescriptorIdentity& other) const {
  return kind == other.kind && device == other.device && inode == other.inode && anonymous == other.anonymous;
}

const char* name_of(DescriptorIdentity::Kind kind) noexcept {
  switch (kind) {
    case Kind::File:
      return "file";
    case Kind::Directory:
      return "directory";
    case Kind::Pipe:
      return "pipe";
    case Kind::Socket:
      return "socket";
    case Kind::Device:
      return "device";
    case Kind::Anonymous:
      return "event object";
  }
  return "unknown";
}

std::optional<DescriptorIdentity> identify_descriptor(int number) {
  struct stat status{};
  if (::fstat(number, &status) != 0) return std::nullopt;
  std::string link = link_of(number);
  DescriptorIdentity identity;
  identity.kind = kind_of(status, link);
  identity.device = status.st_dev;
  identity.inode = status.st_ino;
  if (identity.kind == Kind::Anonymous) identity.anonymous = std::move(link);
  return identity;
}

void Ledger::limit_waits(std::chrono::nanoseconds limit) {
  const std::lock_guard lock(mutex_);
  wait_limit_ = limit;
}

bool Ledger::must_be_compared_by_another() const {
  return census_ && census_->taker != std::this_thread::get_id() && census_->fork_generation == fork_generation() &&
         census_->is_restarted && census_->is_restarted();
}

void Ledger::await_comparison(int number, std::unique_lock<std::mutex>& lock) const {
  const CancellationDeferred deferred;
  if (wait_limited(compared_, lock, wait_limit_,
                   [&, number = census_->number] { return !census_ || census_->number != number; }))
    return;
  throw Error(ErrorKind::Failed, fmt::format("whose descriptor {} is in the restarted process is not known after {} s",
                                             number, std::chrono::duration<double>(wait_limit_).count()))
      .advise("The parameter crs_wait_limit sets the time limit");
}

Ledger::Holding Ledger::look(int number, std::unique_lock<std::mutex>& lock) const {
  // The number first and the process afterwards: whoever saw the number in the old process and is in the new one by now
  // looks again.
  while (true) {
    const auto found = entries_.find(number);
    auto identity = identify_descriptor(number);
    if (found == entries_.end() || !found->second.holds) return {false, std::move(identity)};
    if (must_be_compared_by_another()) {
      await_comparison(number, lock);
      continue;
    }
    const bool holds = identity && *identity == found->second.identity;
    // Who hears now that it is not his is not to hear that it is when the process has been restarted.
    if (census_ && !holds) found->second.holds = false;
    return {holds, std::move(identity)};
  }
}

Claim Ledger::claim(int number, std::string owner) {
  std::unique_lock lock(mutex_);
  const Holding now = look(number, lock);
  if (!now.identity) fail(ErrorKind::Failed, "layer '{}' claims descriptor {}, which is not open", owner, number);
  if (now.holds) {
    fail(ErrorKind::Failed, "layer '{}' claims descriptor {}, which layer '{}' owns", owner, number,
         entries_.at(number).owner);
  }
  const Claim claim{number, ++last_generation_};
  entries_.insert_or_assign(number, Entry{claim.generation, std::move(owner), *now.identity});
  return claim;
}

const Ledger::Entry& Ledger::entry_of(const Claim& claim, const char* operation) const {
  const auto found = entries_.find(claim.number);
  if (found == entries_.end()) {
    fail(ErrorKind::Failed, "cannot {} descriptor {}: the claim on it (generation {}) ended before", operation,
         claim.number, claim.generation);
  }
  if (found->second.generation != claim.generation) {
    fail(ErrorKind::Failed,
         "cannot {} descriptor {}: the claim on it (generation {}) was replaced by that of layer '{}' (generation {})",
         operation, claim.number, claim.generation, found->second.owner, found->second.generation);
  }
  return found->second;
}

void Ledger::require_unused(const Claim& claim, const Entry& entry, const char* operation) {
  if (entry.uses.empty()) return;
  fail(ErrorKind::Failed, "cannot {} descriptor {} of layer '{}': '{}' still waits on it", operation, claim.number,
       entry.owner, entry.uses.begin()->second);
}

bool Ledger::is_mine_locked(const Claim& claim, std::unique_lock<std::mutex>& lock) const {
  const auto is_current = [&] {
    const auto found = entries_.find(claim.number);
    return found != entries_.end() && found->second.generation == claim.generation;
  };
  return is_current() && look(claim.number, lock).holds && is_current();
}

bool Ledger::is_mine(const Claim& claim) const {
  std::unique_lock lock(mutex_);
  return is_mine_locked(claim, lock);
}

bool Ledger::close(const Claim& claim) {
  const CancellationDeferred deferred;  // close(2) would not be made, and the number nobody's
  std::unique_lock lock(mutex_);
  const bool mine = is_mine_locked(claim, lock);
  const Entry& entry = entry_of(claim, "close");
  if (mine) require_unused(claim, entry, "close");
  entries_.erase(claim.number);
  // EINTR and EIO leave the number closed all the same (close(2), "Dealing with error returns").
  if (mine) ::close(claim.number);
  return mine;
}

void Ledger::release(const Claim& claim) {
  std::unique_lock lock(mutex_);
  const bool mine = is_mine_locked(claim, lock);
  const Entry& entry = entry_of(claim, "release");
  if (mine) require_unused(claim, entry, "release");
  entries_.erase(claim.number);
}

Use Ledger::add_use(const Claim& claim, std::string user) {
  std::unique_lock lock(mutex_);
  const bool mine = is_mine_locked(claim, lock);
  static_cast<void>(entry_of(claim, "use"));
  if (!mine) {
    fail(ErrorKind::Failed, "'{}' would wait on descriptor {}, which is no longer what was claimed", user,
         claim.number);
  }
  const Use use{claim, ++last_use_};
  entries_.at(claim.number).uses.emplace(use.id, std::move(user));
  return use;
}

bool Ledger::is_usable(const Use& use) const {
  std::unique_lock lock(mutex_);
  return is_mine_locked(use.claim, lock) && entries_.at(use.claim.number).uses.contains(use.id);
}

void Ledger::end_use(const Use& use) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(use.claim.number);
  if (found != entries_.end() && found->second.generation == use.claim.generation) found->second.uses.erase(use.id);
}

std::string Ledger::owner_of(int number) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(number);
  return found == entries_.end() ? std::string() : found->second.owner;
}

std::size_t Ledger::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

std::vector<int> Ledger::numbers() const {
  const std::lock_guard lock(mutex_);
  std::vector<int> numbers;
  for (const auto& [number, entry] : entries_) numbers.push_back(number);
  return numbers;
}

void Ledger::take_census(std::function<bool()> is_restarted) {
  const std::lock_guard lock(mutex_);
  for (auto& [number, entry] : entries_) {
    const auto identity = identify_descriptor(number);
    entry.holds = entry.holds && identity && *identity == entry.identity;
  }
  census_ = Census{++last_census_, std::this_thread::get_id(), fork_generation(), std::move(is_restarted)};
}

void Ledger::end_census() {
  const std::lock_guard lock(mutex_);
  census_.reset();
  compared_.notify_all();
}

std::vector<std::string> Ledger::compare_after_restart(const Capabilities& brought_back) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> forgotten;
  for (auto& [number, entry] : entries_) {
    if (!entry.holds) continue;
    const auto identity = identify_descriptor(number);
    if (identity && came_back(entry.identity, *identity, brought_back)) {
      entry.identity = *identity;
      continue;
    }
    entry.holds = false;
    forgotten.push_back(
        fmt::format("descriptor {} of layer '{}' ({})", number, entry.owner, name_of(entry.identity.kind)));
  }
  census_.reset();
  compared_.notify_all();
  return forgotten;
}

}  // namespace crs
