#include "engine/resources/credentials/credentials.h"

#include <linux/capability.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "engine/resources/credentials/landlock.h"
#include "engine/resources/credentials/seccomp.h"
#include "engine/resources/credentials/thread_credentials.h"

namespace crs::engine {
namespace {

void warn_of_security_label(CaptureContext& context) {
  // A module that has labels gives every process one.
  if (context.surroundings->own_security_label().empty()) return;
  const std::string label = security_label_of(context.pid);
  if (label.empty() || label == context.surroundings->own_security_label()) return;
  context.warnings.push_back(fmt::format(
      "the program has the security label '{}', which is not part of the snapshot: a restarted one has that "
      "of crs restart",
      label));
}

bool is_one_of(std::uint32_t id, const UserIds& ids) {
  return id == ids.real || id == ids.effective || id == ids.saved;
}

bool all_within(const UserIds& wanted, const UserIds& own) {
  return std::ranges::all_of(wanted.list(), [&](std::uint32_t id) { return is_one_of(id, own); });
}

bool able_to(const ThreadCredentials& own, int capability) { return ((own.effective >> capability) & 1) != 0; }

[[noreturn]] void fail_privilege(std::string what, const ThreadCredentials& wanted) {
  Error error(ErrorKind::Failed, std::move(what));
  const auto ids = wanted.users.list();
  const bool is_one = std::ranges::all_of(ids, [&](std::uint32_t id) { return id == wanted.users.real; });
  throw error.advise(is_one ? fmt::format("Restart it as user {} or as root", wanted.users.real)
                            : "Restart it as root: its user ids (real, effective, saved) are not all the same");
}

void check_thread(const ThreadCredentials& wanted, const ThreadCredentials& own) {
  if (!all_within(wanted.users, own.users) && !able_to(own, CAP_SETUID)) {
    fail_privilege(fmt::format("the program ran as user {}, and user {} may not become that user",
                               wanted.users.effective, own.users.effective),
                   wanted);
  }
  if (!able_to(own, CAP_SETGID)) {
    if (!all_within(wanted.groups, own.groups)) {
      fail_privilege(fmt::format("the program ran with group {}, and the caller, with group {}, may not change to it",
                                 wanted.groups.effective, own.groups.effective),
                     wanted);
    }
    if (wanted.supplementary_groups != own.supplementary_groups) {
      fail_privilege("the program ran with other supplementary groups than the caller has", wanted);
    }
  }
  const std::uint64_t lacking = wanted.permitted & ~own.permitted;
  if (lacking != 0)
    fail_privilege(
        fmt::format("the program had capabilities that the caller has not ({:#x}, as capsh --decode reads it)",
                    lacking),
        wanted);
}

}  // namespace

void capture_credentials(CaptureContext& context, const Securebits& securebits, image::Credentials& credentials) {
  ThreadCredentials main = credentials_in(context.statuses.of(context.pid));
  const auto of_main = securebits.find(context.pid);
  main.securebits = of_main != securebits.end() ? of_main->second
                    : context.only_looks        ? 0
                                                : securebits_of(context.remote);
  keep_credentials(main, *credentials.mutable_main());
  credentials.mutable_main()->set_tid(context.own_pid);
  SeccompCapture seccomp(context, *credentials.mutable_seccomp());
  for (const pid_t tid : context.threads) {
    const ProcessStatus& status = context.statuses.of(tid);
    seccomp.add(tid, status);
    if (tid == context.pid) refuse_landlock(context, status);
    ThreadCredentials thread = credentials_in(status);
    const auto own = securebits.find(tid);
    thread.securebits = own == securebits.end() ? main.securebits : own->second;
    if (thread == main) continue;
    image::ThreadCredentials& other = *credentials.add_others();
    keep_credentials(thread, other);
    other.set_tid(innermost_id(status));
  }
  warn_of_security_label(context);
}

void check_credentials(CheckContext& context, const image::Credentials& credentials) {
  const ThreadCredentials own = credentials_in(ProcessStatus::of(::getpid()));
  check_thread(credentials_from(credentials.main()), own);
  for (const image::ThreadCredentials& other : credentials.others()) check_thread(credentials_from(other), own);
  check_seccomp(context, credentials.seccomp());
}

void restore_credentials(RestoreContext& context, const image::Credentials& credentials) {
  restore_seccomp(context, credentials.seccomp());
  const ThreadCredentials main = credentials_from(credentials.main());
  std::map<pid_t, ThreadCredentials> others;
  for (const image::ThreadCredentials& other : credentials.others()) others[other.tid()] = credentials_from(other);
  for (const auto& [tid, thread] : context.threads) {
    const auto own = others.find(tid);
    change_credentials(*thread, own == others.end() ? main : own->second, context.notes);
  }
}

}  // namespace crs::engine
