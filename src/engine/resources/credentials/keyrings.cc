#include "engine/resources/credentials/keyrings.h"

#include <fmt/format.h>
#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

using Serial = std::int32_t;
constexpr std::int64_t kNone = 0;

RemoteCaller::StoringCall question(int keyring) {
  return {SYS_keyctl, {KEYCTL_GET_KEYRING_ID, static_cast<std::uint64_t>(keyring)}, RemoteCaller::kReturned};
}

// 0: it has none.
std::int64_t keyring_of(RemoteCaller& thread, int keyring) {
  const std::int64_t serial = thread.raw_call(SYS_keyctl, question(keyring).arguments);
  return serial > 0 ? serial : kNone;
}

std::int64_t own_session_keyring() { return ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0); }

// Whether a thread's keyring leads to a key, asked in its name: what it may see nobody else may.
class KeyFinder {
 public:
  explicit KeyFinder(RemoteCaller& thread) : thread_(thread) {}

  bool finds_in(std::int64_t keyring) {
    if (!seen_.insert(keyring).second) return false;
    const std::int64_t bytes = call(KEYCTL_READ, keyring);
    if (bytes == -EACCES) return true;  // whatever it holds
    for (const Serial serial : content_of(bytes)) {
      const std::string description = description_of(serial);
      if (description.starts_with("keyring;")) {
        if (!is_of_user(description) && finds_in(serial)) return true;
      } else if (!description.empty()) {
        return true;
      }
    }
    return false;
  }

 private:
  // Of so many bytes, which have just been read.
  std::vector<Serial> content_of(std::int64_t bytes) {
    std::vector<Serial> serials(RemoteCaller::kScratchSize / sizeof(Serial));
    serials.resize(bytes <= 0 ? 0 : std::min(serials.size(), static_cast<std::size_t>(bytes) / sizeof(Serial)));
    thread_.memory().read(thread_.scratch(), std::as_writable_bytes(std::span(serials)));
    return serials;
  }

  // Its type, a semicolon, and more (keyctl_describe(3)). Empty: there is no such key any more.
  std::string description_of(Serial serial) {
    const std::int64_t bytes = call(KEYCTL_DESCRIBE, serial);
    if (bytes == -ENOKEY || bytes == -EKEYREVOKED || bytes == -EKEYEXPIRED) return {};
    if (bytes < 0) return "hidden;";
    std::string text(std::min(RemoteCaller::kScratchSize, static_cast<std::size_t>(bytes)), '\0');
    thread_.memory().read(thread_.scratch(), std::as_writable_bytes(std::span(text.data(), text.size())));
    return text;
  }

  // Those of a user (user-keyring(7)) are there as long as the user is.
  static bool is_of_user(std::string_view description) { return description.find(";_uid") != std::string_view::npos; }

  std::int64_t call(int operation, std::int64_t serial) {
    return thread_.raw_call(SYS_keyctl, {static_cast<std::uint64_t>(operation), static_cast<std::uint64_t>(serial),
                                         thread_.scratch().value, RemoteCaller::kScratchSize});
  }

  RemoteCaller& thread_;
  std::set<std::int64_t> seen_;
};

void refuse(CaptureContext& context, const std::string& whose, std::string_view keyring) {
  context.refusals.add(
      fmt::format("{} has keys in its {} keyring (keyrings(7))", whose, keyring),
      "they cannot be kept: let the program give them up before the checkpoint, and ask for them anew");
}

}  // namespace

bool may_hold_keys(Surroundings& surroundings) { return !surroundings.users_with_keys().empty(); }

void foresee_keyring_of_thread(Questions& questions) {
  questions.of_thread.push_back(question(KEY_SPEC_THREAD_KEYRING));
}

void foresee_keyrings_of_process(Questions& questions) {
  questions.of_thread.push_back(question(KEY_SPEC_PROCESS_KEYRING));
  questions.of_thread.push_back(question(KEY_SPEC_SESSION_KEYRING));
}

void refuse_keys_of_thread(CaptureContext& context, RemoteCaller& thread) {
  const std::int64_t keyring = keyring_of(thread, KEY_SPEC_THREAD_KEYRING);
  if (keyring == kNone || !KeyFinder(thread).finds_in(keyring)) return;
  refuse(context, fmt::format("thread {} of process {}", innermost_id(thread.tid()), context.own_pid), "thread");
}

void refuse_keys_of_process(CaptureContext& context, RemoteCaller& main) {
  const std::string whose = fmt::format("process {}", context.own_pid);
  const std::int64_t of_process = keyring_of(main, KEY_SPEC_PROCESS_KEYRING);
  if (of_process != kNone && KeyFinder(main).finds_in(of_process)) refuse(context, whose, "process");
  const std::int64_t of_session = keyring_of(main, KEY_SPEC_SESSION_KEYRING);
  if (of_session == kNone || of_session == own_session_keyring()) return;  // it gets that of CRS
  if (KeyFinder(main).finds_in(of_session)) refuse(context, whose, "session");
}

}  // namespace crs::engine
