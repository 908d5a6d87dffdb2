#include "engine/resources/credentials/thread_credentials.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "engine/resources/credentials/credentials.h"

namespace crs::engine {
namespace {

constexpr std::size_t kMostGroups = 65536;  // NGROUPS_MAX of setgroups(2)
constexpr int kCapabilities = 64;

constexpr std::uint64_t capability_bit(int capability) { return std::uint64_t{1} << capability; }

UserIds ids_in(const ProcessStatus& status, std::string_view name) {
  const std::vector<std::uint64_t> ids = status.numbers(name);
  if (ids.size() != 4) fail(ErrorKind::Failed, "the line {} of /proc/PID/status does not have four ids", name);
  const auto id = [&](std::size_t i) { return static_cast<std::uint32_t>(ids[i]); };
  return {.real = id(0), .effective = id(1), .saved = id(2), .file_system = id(3)};
}

UserIds ids_from(const google::protobuf::RepeatedField<std::uint32_t>& kept) {
  if (kept.size() != 4) fail(ErrorKind::Damaged, "a thread has {} user or group ids instead of four", kept.size());
  return {.real = kept[0], .effective = kept[1], .saved = kept[2], .file_system = kept[3]};
}

// The steps from a thread's present credentials to the wanted ones, each a method; the present ones are kept up to
// date.
class Change {
 public:
  Change(RemoteCaller& thread, const ThreadCredentials& wanted, std::vector<std::string>& notes)
      : thread_(thread), wanted_(wanted), notes_(notes), now_(credentials_of(thread)) {}

  // The order follows capabilities(7): ids while the capabilities to set them are there, what needs CAP_SETPCAP before
  // that goes, and the final capability sets last.
  void run() {
    if (now_ == wanted_) return;
    use_all_permitted();
    detach_capabilities_from_ids();
    set_supplementary_groups();
    set_groups();
    set_users();
    set_inheritable();
    drop_from_bounding_set();
    set_ambient();
    set_securebits();
    set_no_new_privileges();
    set_capabilities(wanted_.permitted, wanted_.effective, wanted_.inheritable);
    verify();
  }

 private:
  void use_all_permitted() {
    if (now_.effective != now_.permitted) set_capabilities(now_.permitted, now_.permitted, now_.inheritable);
  }

  bool able_to(int capability) const { return (now_.effective & capability_bit(capability)) != 0; }

  // Changing user ids must not touch the capabilities: they are set to what is wanted afterwards.
  void detach_capabilities_from_ids() {
    if (now_.users == wanted_.users || !able_to(CAP_SETPCAP)) return;
    const std::uint32_t bits = now_.securebits | SECBIT_NO_SETUID_FIXUP;
    if (bits == now_.securebits) return;
    require("securebits", thread_.raw_call(SYS_prctl, {PR_SET_SECUREBITS, bits, 0, 0, 0, 0}));
    now_.securebits = bits;
  }

  void set_supplementary_groups() {
    const std::vector<std::uint32_t>& groups = wanted_.supplementary_groups;
    if (groups == now_.supplementary_groups) return;
    const std::size_t bytes = groups.size() * sizeof(std::uint32_t);
    if (bytes <= RemoteCaller::kScratchSize) {
      thread_.memory().write(thread_.scratch(), std::as_bytes(std::span(groups)));
      require("supplementary groups",
              thread_.raw_call(SYS_setgroups, {groups.size(), thread_.scratch().value, 0, 0, 0, 0}));
    } else {
      set_many_groups(bytes);
    }
  }

  void set_many_groups(std::size_t bytes) {
    constexpr std::uint64_t kReadWrite = 3;            // PROT_READ | PROT_WRITE
    constexpr std::uint64_t kPrivateAnonymous = 0x22;  // MAP_PRIVATE | MAP_ANONYMOUS
    const std::int64_t area = thread_.call("mmap", SYS_mmap, 0, bytes, kReadWrite, kPrivateAnonymous, -1, 0);
    const RemoteAddress start{static_cast<std::uint64_t>(area)};
    thread_.memory().write(start, std::as_bytes(std::span(wanted_.supplementary_groups)));
    const std::int64_t result =
        thread_.raw_call(SYS_setgroups, {wanted_.supplementary_groups.size(), start.value, 0, 0, 0, 0});
    thread_.call("munmap", SYS_munmap, start, bytes);
    require("supplementary groups", result);
  }

  void set_groups() {
    if (now_.groups == wanted_.groups) return;
    const UserIds& to = wanted_.groups;
    require("group ids", thread_.raw_call(SYS_setresgid, {to.real, to.effective, to.saved, 0, 0, 0}));
    thread_.raw_call(SYS_setfsgid, {to.file_system, 0, 0, 0, 0, 0});  // Tells no failure; verify() does.
  }

  void set_users() {
    if (now_.users == wanted_.users) return;
    const UserIds& to = wanted_.users;
    require("user ids", thread_.raw_call(SYS_setresuid, {to.real, to.effective, to.saved, 0, 0, 0}));
    thread_.raw_call(SYS_setfsuid, {to.file_system, 0, 0, 0, 0, 0});
    refresh();
    use_all_permitted();
  }

  // Before the bounding set shrinks, since that limits what may be added.
  void set_inheritable() {
    if (now_.inheritable != wanted_.inheritable) set_capabilities(now_.permitted, now_.effective, wanted_.inheritable);
  }

  // The bounding set limits what programs that are executed later may gain, and kernels know more capabilities as they
  // grow: a difference that cannot be removed does not keep a program from running.
  void drop_from_bounding_set() {
    if ((wanted_.bounding & ~now_.bounding) != 0)
      note("cannot gain some capabilities any more that it could gain by executing a program");
    const std::uint64_t surplus = now_.bounding & ~wanted_.bounding;
    if (surplus == 0) return;
    if (!able_to(CAP_SETPCAP)) {
      note("could gain more capabilities by executing a program than before");
      return;
    }
    for (int capability = 0; capability < kCapabilities; ++capability) {
      if ((surplus & capability_bit(capability)) == 0) continue;
      const auto number = static_cast<std::uint64_t>(capability);
      require("capability bounding set", thread_.raw_call(SYS_prctl, {PR_CAPBSET_DROP, number, 0, 0, 0, 0}));
    }
  }

  void note(std::string_view what) {
    std::string text = fmt::format("the program {} (its capability bounding set differs)", what);
    if (std::ranges::find(notes_, text) == notes_.end()) notes_.push_back(std::move(text));
  }

  void set_ambient() {
    refresh();
    if (now_.ambient == wanted_.ambient) return;
    const auto change = [&](std::uint64_t action, std::uint64_t capability) {
      require("ambient capabilities", thread_.raw_call(SYS_prctl, {PR_CAP_AMBIENT, action, capability, 0, 0, 0}));
    };
    change(PR_CAP_AMBIENT_CLEAR_ALL, 0);
    for (int capability = 0; capability < kCapabilities; ++capability) {
      if ((wanted_.ambient & capability_bit(capability)) != 0)
        change(PR_CAP_AMBIENT_RAISE, static_cast<std::uint64_t>(capability));
    }
  }

  void set_securebits() {
    if (now_.securebits == wanted_.securebits) return;
    // Keeping capabilities over a change of user is the one bit that anybody may set.
    const bool only_keep = (now_.securebits ^ wanted_.securebits) == SECBIT_KEEP_CAPS;
    const bool keep = (wanted_.securebits & SECBIT_KEEP_CAPS) != 0;
    require("securebits", only_keep ? thread_.raw_call(SYS_prctl, {PR_SET_KEEPCAPS, keep ? 1U : 0U, 0, 0, 0, 0})
                                    : thread_.raw_call(SYS_prctl, {PR_SET_SECUREBITS, wanted_.securebits, 0, 0, 0, 0}));
  }

  void set_no_new_privileges() {
    if (now_.no_new_privileges == wanted_.no_new_privileges) return;
    if (now_.no_new_privileges) {
      const std::string text = "the program runs with no_new_privs, as crs itself does: this cannot be taken off";
      if (std::ranges::find(notes_, text) == notes_.end()) notes_.push_back(text);
      return;
    }
    require("no_new_privs", thread_.raw_call(SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0}));
  }

  void set_capabilities(std::uint64_t permitted, std::uint64_t effective, std::uint64_t inheritable) {
    const __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, 2> data{};
    for (std::size_t half = 0; half < data.size(); ++half) {
      const auto part = [half](std::uint64_t set) { return static_cast<std::uint32_t>(set >> (32 * half)); };
      data[half] = {.effective = part(effective), .permitted = part(permitted), .inheritable = part(inheritable)};
    }
    const RemoteAddress header_place = thread_.put(header);
    const RemoteAddress data_place = thread_.put(data, 64);
    require("capabilities", thread_.raw_call(SYS_capset, {header_place.value, data_place.value, 0, 0, 0, 0}));
    now_.permitted = permitted;
    now_.effective = effective;
    now_.inheritable = inheritable;
  }

  void refresh() { now_ = credentials_of(thread_); }

  void verify() {
    refresh();
    ThreadCredentials reached = now_;
    reached.no_new_privileges = wanted_.no_new_privileges;  // A difference in these two is noted.
    reached.bounding = wanted_.bounding;
    if (reached != wanted_)
      fail(ErrorKind::Failed, "the kernel did not accept all credentials of thread {}", thread_.tid());
  }

  void require(std::string_view what, std::int64_t result) const {
    if (result >= 0) return;
    Error error = Error::from_errno(fmt::format("cannot give thread {} its {} back", thread_.tid(), what),
                                    static_cast<int>(-result));
    if (result == -EPERM) error.advise("Restart it as the user that it ran as, with the same privileges");
    throw error;
  }

  RemoteCaller& thread_;
  const ThreadCredentials& wanted_;
  std::vector<std::string>& notes_;
  ThreadCredentials now_;
};

}  // namespace

ThreadCredentials credentials_in(const ProcessStatus& status) {
  ThreadCredentials credentials;
  credentials.users = ids_in(status, "Uid");
  credentials.groups = ids_in(status, "Gid");
  for (const std::uint64_t group : status.numbers("Groups")) {
    credentials.supplementary_groups.push_back(static_cast<std::uint32_t>(group));
  }
  std::ranges::sort(credentials.supplementary_groups);
  credentials.permitted = status.hexadecimal("CapPrm");
  credentials.effective = status.hexadecimal("CapEff");
  credentials.inheritable = status.hexadecimal("CapInh");
  credentials.bounding = status.hexadecimal("CapBnd");
  credentials.ambient = status.hexadecimal("CapAmb");
  credentials.no_new_privileges = status.number("NoNewPrivs") != 0;
  return credentials;
}

void foresee_securebits(Questions& questions) {
  questions.of_thread.push_back({SYS_prctl, {PR_GET_SECUREBITS}, RemoteCaller::kReturned});
}

std::uint32_t securebits_of(RemoteCaller& thread) {
  return static_cast<std::uint32_t>(thread.call("prctl(PR_GET_SECUREBITS)", SYS_prctl, PR_GET_SECUREBITS));
}

ThreadCredentials credentials_of(RemoteCaller& thread) {
  ThreadCredentials credentials = credentials_in(ProcessStatus::of(thread.tid()));
  credentials.securebits = securebits_of(thread);
  return credentials;
}

void keep_credentials(const ThreadCredentials& credentials, image::ThreadCredentials& kept) {
  for (const std::uint32_t id : credentials.users.list()) kept.add_users(id);
  for (const std::uint32_t id : credentials.groups.list()) kept.add_groups(id);
  kept.mutable_supplementary_groups()->Assign(credentials.supplementary_groups.begin(),
                                              credentials.supplementary_groups.end());
  kept.set_permitted(credentials.permitted);
  kept.set_effective(credentials.effective);
  kept.set_inheritable(credentials.inheritable);
  kept.set_bounding(credentials.bounding);
  kept.set_ambient(credentials.ambient);
  kept.set_securebits(credentials.securebits);
  kept.set_no_new_privileges(credentials.no_new_privileges);
}

ThreadCredentials credentials_from(const image::ThreadCredentials& kept) {
  ThreadCredentials credentials;
  credentials.users = ids_from(kept.users());
  credentials.groups = ids_from(kept.groups());
  credentials.supplementary_groups.assign(kept.supplementary_groups().begin(), kept.supplementary_groups().end());
  if (credentials.supplementary_groups.size() > kMostGroups) {
    fail(ErrorKind::Damaged, "a thread has {} supplementary groups", credentials.supplementary_groups.size());
  }
  std::ranges::sort(credentials.supplementary_groups);
  credentials.permitted = kept.permitted();
  credentials.effective = kept.effective();
  credentials.inheritable = kept.inheritable();
  credentials.bounding = kept.bounding();
  credentials.ambient = kept.ambient();
  credentials.securebits = kept.securebits();
  credentials.no_new_privileges = kept.no_new_privileges();
  return credentials;
}

void change_credentials(RemoteCaller& thread, const ThreadCredentials& wanted, std::vector<std::string>& notes) {
  Change(thread, wanted, notes).run();
}

}  // namespace crs::engine
