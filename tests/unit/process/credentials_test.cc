#include "engine/resources/credentials/credentials.h"

#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "engine/resources/credentials/seccomp.h"
#include "engine/resources/credentials/thread_credentials.h"
#include "pages/child.h"
#include "process/round_trip.h"

namespace crs::engine {
namespace {

using test::Child;
using ::testing::HasSubstr;

class CredentialsTest : public ::testing::Test {
 protected:
  void SetUp() override { test::prepare_for_tracing(); }
};

image::Credentials captured_credentials(CaptureContext context) {
  image::Credentials credentials;
  capture_credentials(context, {}, credentials);
  return credentials;
}

// What a newborn has after it was given `before`, which process `original` had.
image::Credentials credentials_given_back(const image::Credentials& before, pid_t original,
                                          std::vector<std::string>* notes = nullptr,
                                          IdPlan::Way way = IdPlan::Way::Fresh) {
  test::Restarted restarted([](NewbornContext&) {}, way);
  RestoreContext restoring = restarted.restoring(original);
  restore_credentials(restoring, before);
  if (notes != nullptr) *notes = restarted.notes;
  image::Credentials after = captured_credentials(restarted.capturing());
  after.mutable_main()->set_tid(original);
  return after;
}

bool become(uid_t user, gid_t group) {
  return ::setresgid(group, group, group) == 0 && ::setresuid(user, user, user) == 0;
}

bool set_capabilities(std::uint32_t permitted, std::uint32_t effective, std::uint32_t inheritable) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {{.effective = effective, .permitted = permitted, .inheritable = inheritable}, {}};
  return ::syscall(SYS_capset, &header, data) == 0;
}

void expect_credentials_kept(const std::function<bool()>& set_up) {
  const Child child(set_up);
  test::Frozen frozen(child.pid());
  const image::Credentials before = captured_credentials(frozen.context());
  const image::Credentials after = credentials_given_back(before, child.pid());
  EXPECT_EQ(before.SerializeAsString(), after.SerializeAsString());
}

TEST_F(CredentialsTest, OwnCredentialsComeBack) {
  expect_credentials_kept([] { return true; });
  expect_credentials_kept([] { return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0; });
  expect_credentials_kept([] { return ::prctl(PR_SET_KEEPCAPS, 1) == 0; });
}

TEST_F(CredentialsTest, ComesBackWithoutPrivilegeInPrivateNamespaces) {
  if (::geteuid() == 0) GTEST_SKIP() << "for an ordinary user";
  const Child child([] { return true; });
  test::Frozen frozen(child.pid());
  const image::Credentials before = captured_credentials(frozen.context());
  const image::Credentials after = credentials_given_back(before, child.pid(), nullptr, IdPlan::Way::UserNamespace);
  EXPECT_EQ(before.SerializeAsString(), after.SerializeAsString());
}

TEST_F(CredentialsTest, RootGivesBackAnyCredentials) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  expect_credentials_kept([] { return become(1234, 1235); });
  expect_credentials_kept([] { return ::setresuid(1, 2, 3) == 0; });
  expect_credentials_kept([] { return ::setfsgid(78) == 0 && ::setfsuid(77) == 0; });
  expect_credentials_kept([] {
    const gid_t groups[] = {30, 10, 20};
    return ::setgroups(3, groups) == 0 && become(1234, 1234);
  });
  expect_credentials_kept([] {
    std::vector<gid_t> groups;
    for (gid_t group = 1000; group < 2000; ++group) groups.push_back(group);
    return ::setgroups(groups.size(), groups.data()) == 0;
  });
}

TEST_F(CredentialsTest, RootGivesBackCapabilities) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  constexpr std::uint32_t kSome = 1U << CAP_NET_RAW | 1U << CAP_CHOWN;
  constexpr std::uint32_t kOne = 1U << CAP_CHOWN;
  expect_credentials_kept([] { return set_capabilities(kSome, kOne, 0); });
  expect_credentials_kept([] { return set_capabilities(0, 0, 0); });
  expect_credentials_kept(
      [] { return ::prctl(PR_CAPBSET_DROP, CAP_NET_RAW) == 0 && ::prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN) == 0; });
  expect_credentials_kept([] { return ::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED) == 0; });
  // An ordinary user with one ambient capability.
  expect_credentials_kept([] {
    return ::prctl(PR_SET_KEEPCAPS, 1) == 0 && become(1234, 1234) && set_capabilities(kSome, kSome, kOne) &&
           ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0) == 0 && set_capabilities(kOne, 0, kOne);
  });
  // What dropping privilege leaves of an inheritable set beyond the bounding set.
  expect_credentials_kept([] {
    return set_capabilities(kSome | 1U << CAP_SETPCAP, kSome | 1U << CAP_SETPCAP, kSome) &&
           ::prctl(PR_CAPBSET_DROP, CAP_NET_RAW) == 0;
  });
}

TEST_F(CredentialsTest, AThreadCanDiffer) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const Child child([] {
    std::atomic<int> answer = 0;
    std::thread([&answer] {
      answer = ::syscall(SYS_setresuid, 1234, 1234, 1234) == 0 ? 1 : -1;  // the C library's would change every thread
      answer.notify_one();
      while (true) ::pause();
    }).detach();
    answer.wait(0);
    return answer == 1;
  });
  test::Frozen frozen(child.pid());
  const image::Credentials credentials = captured_credentials(frozen.context());
  EXPECT_EQ(credentials.main().users(0), 0U);
  ASSERT_EQ(credentials.others_size(), 1);
  EXPECT_EQ(credentials.others(0).users(0), 1234U);
  EXPECT_THAT(frozen.context().threads, ::testing::Contains(credentials.others(0).tid()));
}

TEST_F(CredentialsTest, OrdinaryUserMayNotBecomeAnother) {
  const RestartOptions options;
  const ContentStore content("/nonexistent");
  std::vector<std::string> notes;
  CheckContext context{.options = options, .content = content, .notes = notes};
  const Child child([] { return true; });
  test::Frozen frozen(child.pid());
  image::Credentials credentials = captured_credentials(frozen.context());
  EXPECT_NO_THROW(check_credentials(context, credentials));

  credentials.mutable_main()->set_users(1, 4711);
  if (::geteuid() != 0) {
    try {
      check_credentials(context, credentials);
      FAIL();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("the program ran as user 4711"));
    }
  }
  credentials.mutable_main()->add_users(5);
  try {
    check_credentials(context, credentials);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Damaged);
  }
}

bool add_filter() {
  sock_filter allow{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = SECCOMP_RET_ALLOW};
  const sock_fprog program{.len = 1, .filter = &allow};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// Whoever is under a filter himself sees none: the asking process must be another one than the test.
bool is_refused_to_whom_filters_surround(const Child& child) {
  const Child asking([&] {
    if (!add_filter() || !add_filter()) return false;
    Refusals refusals;
    refuse_seccomp(child.pid(), refusals, ProcessStatus::of(::getpid()));
    try {
      refusals.throw_if_any();
      return false;
    } catch (const Error& error) {
      return error.kind() == ErrorKind::Refused && std::string_view(error.what()).contains("1 seccomp filters");
    }
  });
  return true;
}

TEST_F(CredentialsTest, RefusesSeccomp) {
  const Child child(add_filter);
  EXPECT_TRUE(is_refused_to_whom_filters_surround(child));
}

TEST_F(CredentialsTest, RefusesSeccompOfOneThread) {
  const Child child([] {
    std::atomic<int> answer = 0;
    std::thread([&answer] {
      answer = add_filter() ? 1 : -1;
      answer.notify_one();
      while (true) ::pause();
    }).detach();
    answer.wait(0);
    return answer == 1;
  });
  EXPECT_TRUE(is_refused_to_whom_filters_surround(child));
}

image::Seccomp one_filter(std::size_t bytes, std::uint32_t index, bool strict) {
  image::Seccomp seccomp;
  seccomp.add_filters()->set_program(std::string(bytes, '\0'));
  seccomp.add_threads()->set_tid(1);
  seccomp.mutable_threads(0)->set_strict(strict);
  seccomp.mutable_threads(0)->add_filters(index);
  return seccomp;
}

TEST_F(CredentialsTest, ForgedFiltersAreDamage) {
  image::Seccomp none = one_filter(8, 0, false);
  none.mutable_threads(0)->clear_filters();
  image::Seccomp many = one_filter(std::size_t{8} * BPF_MAXINSNS, 0, false);
  for (int i = 0; i < 8; ++i) many.mutable_threads(0)->add_filters(0);
  const std::vector<image::Seccomp> forged{one_filter(0, 0, false),
                                           one_filter(7, 0, false),
                                           one_filter(std::size_t{8} * (BPF_MAXINSNS + 1), 0, false),
                                           one_filter(8, 1, false),
                                           one_filter(8, 0, true),
                                           none,
                                           many};
  RestartOptions options;
  const ContentStore content("/nonexistent");
  std::vector<std::string> notes;
  CheckContext context{options, content, notes};
  for (const image::Seccomp& one : forged) {
    try {
      check_seccomp(context, one);
      ADD_FAILURE() << "accepted: " << testing::PrintToString(one.SerializeAsString());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Damaged) << error.what();
    }
  }
}

// Whether a restart of a program with a filter is refused beforehand to a process that has done `give_up`.
bool cannot_put_back_after(const std::function<bool()>& give_up) {
  const Child restarting([&] {
    if (!give_up()) return false;
    RestartOptions options;
    const ContentStore content("/nonexistent");
    std::vector<std::string> notes;
    CheckContext context{options, content, notes};
    try {
      check_seccomp(context, one_filter(8, 0, false));
      return false;
    } catch (const Error& error) {
      return error.kind() == ErrorKind::Refused;
    }
  });
  return true;
}

TEST_F(CredentialsTest, OnlyRootOutsideOfFiltersPutsThemBack) {
  EXPECT_TRUE(cannot_put_back_after(add_filter));
  constexpr uid_t kNobody = 65534;
  EXPECT_TRUE(cannot_put_back_after([] { return ::geteuid() != 0 || ::setresuid(kNobody, kNobody, kNobody) == 0; }));
}

TEST_F(CredentialsTest, AFilterThatTheKernelDoesNotTakeIsAnError) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  test::Restarted restarted([](NewbornContext&) {});
  RestoreContext restoring = restarted.restoring(1);
  EXPECT_THROW(restore_seccomp(restoring, one_filter(8, 0, false)), Error);  // it returns nothing
  RestoreContext other = restarted.restoring(2);
  EXPECT_THROW(restore_seccomp(other, one_filter(8, 0, false)), Error);  // of a thread that there is not
}

TEST_F(CredentialsTest, AContainersFiltersAreNoObstacle) {
  // The child stands for CRS in a container, its own child for the program beside it.
  EXPECT_NO_THROW(Child([] {
    if (!add_filter()) return false;
    const Child program([] { return true; });
    Refusals refusals;
    refuse_seccomp(program.pid(), refusals, ProcessStatus::of(::getpid()));
    return refusals.empty();
  }));
}

}  // namespace
}  // namespace crs::engine
