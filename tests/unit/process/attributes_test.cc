#include "engine/resources/attributes/attributes.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/status.h"
#include "engine/resources/attributes/limits.h"
#include "engine/resources/attributes/namespaces.h"
#include "pages/child.h"
#include "process/round_trip.h"

namespace crs::engine {
namespace {

using test::Child;
using ::testing::Contains;
using ::testing::HasSubstr;

struct All {
  image::Attributes process;
  image::ThreadAttributes thread;
};

All captured_attributes(CaptureContext context) {
  All all;
  capture_attributes(context, all.process);
  capture_thread_attributes(context, context.remote, all.thread);
  return all;
}

class AttributesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    test::prepare_for_tracing();
    std::string pattern = (std::filesystem::temp_directory_path() / "crs-attributes-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
};

// What a newborn has after it was given `before`.
All attributes_given_back(const All& before, std::vector<std::string>& notes) {
  test::Restarted restarted([&](NewbornContext& context) {
    restore_attributes_inside(context, before.process);
    restore_directories_inside(context, before.process);
  });
  RestoreContext restoring = restarted.restoring(restarted.pid());
  restore_attributes(restoring, before.process);
  restore_thread_attributes(restoring, restarted.main(), before.thread);
  finish_thread_attributes(restoring, restarted.main(), before.thread);
  finish_attributes(restoring, before.process);
  notes = restarted.notes;
  return captured_attributes(restarted.capturing());
}

std::vector<std::string> expect_attributes_kept(const std::function<bool()>& set_up) {
  const Child child(set_up);
  test::Frozen frozen(child.pid());
  const All before = captured_attributes(frozen.context());
  EXPECT_TRUE(frozen.refusals.empty());
  std::vector<std::string> notes;
  const All after = attributes_given_back(before, notes);
  EXPECT_EQ(before.process.SerializeAsString(), after.process.SerializeAsString());
  EXPECT_EQ(before.thread.SerializeAsString(), after.thread.SerializeAsString());
  return notes;
}

bool limit(__rlimit_resource resource, rlim_t soft, rlim_t hard) {
  const rlimit both{.rlim_cur = soft, .rlim_max = hard};
  return ::setrlimit(resource, &both) == 0;
}

TEST_F(AttributesTest, DirectoriesAndModesComeBack) {
  const std::string name = directory_ + "/with a space";
  ASSERT_TRUE(std::filesystem::create_directory(name));
  EXPECT_TRUE(expect_attributes_kept([&] {
                ::umask(0137);
                return ::chdir(name.c_str()) == 0;
              }).empty());
}

TEST_F(AttributesTest, LimitsComeBack) {
  EXPECT_TRUE(expect_attributes_kept([] {
                return limit(RLIMIT_NOFILE, 100, 200) && limit(RLIMIT_CORE, 0, 4096) &&
                       limit(RLIMIT_STACK, 1 << 20, 4 << 20) && limit(RLIMIT_FSIZE, 12345, RLIM_INFINITY) &&
                       limit(RLIMIT_AS, RLIM_INFINITY - 1, RLIM_INFINITY - 1);
              }).empty());
}

TEST_F(AttributesTest, AHardLimitThatCannotBeRaisedIsNoted) {
  const Child child([] { return true; });
  test::Frozen frozen(child.pid());
  All before = captured_attributes(frozen.context());
  rlimit own{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &own), 0);
  before.process.mutable_limits(RLIMIT_NOFILE)
      ->set_hard(std::uint64_t{1} << 40);  // beyond fs.nr_open: not even for root
  std::vector<std::string> notes;
  const All after = attributes_given_back(before, notes);
  EXPECT_THAT(notes, Contains(HasSubstr("the hard limit of open files stays at")));
  EXPECT_EQ(after.process.limits(RLIMIT_NOFILE).hard(), own.rlim_max);
}

TEST_F(AttributesTest, ProcessControlsComeBack) {
  expect_attributes_kept([] {
    return ::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_NAME, "a)name\n(x") == 0 && ::prctl(PR_SET_TIMERSLACK, 12345) == 0 &&
           ::prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0 && ::personality(ADDR_NO_RANDOMIZE | UNAME26) >= 0 &&
           ::prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) == 0;
  });
  expect_attributes_kept([] {
    constexpr int kSetMemoryMerge = 67;
    constexpr int kSetMdwe = 65;
    static_cast<void>(::prctl(kSetMemoryMerge, 1, 0, 0, 0));
    static_cast<void>(::prctl(kSetMdwe, 1, 0, 0, 0));
    const FileDescriptor filter = open_file("/proc/self/coredump_filter", O_WRONLY);
    write_all(filter.get(), "filter", as_byte_span("0x7f"));
    const FileDescriptor score = open_file("/proc/self/oom_score_adj", O_WRONLY);
    write_all(score.get(), "score", as_byte_span("600"));
    return true;
  });
}

TEST_F(AttributesTest, CapturesWhatWasSet) {
  const Child child([] {
    ::umask(0137);
    return ::prctl(PR_SET_NAME, "a)name\n(x") == 0 && ::prctl(PR_SET_TIMERSLACK, 12345) == 0 &&
           ::prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0 &&
           ::prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) == 0 &&
           ::setpriority(PRIO_PROCESS, 0, 7) == 0 && ::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 &&
           ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 && ::personality(UNAME26) >= 0;
  });
  test::Frozen frozen(child.pid());
  const All all = captured_attributes(frozen.context());
  EXPECT_EQ(all.thread.name(), "a)name\n(x");
  EXPECT_EQ(all.thread.timer_slack(), 12345U);
  EXPECT_EQ(all.thread.parent_death_signal(), static_cast<std::uint32_t>(SIGUSR2));
  EXPECT_EQ(all.thread.machine_check_policy(), static_cast<std::uint32_t>(PR_MCE_KILL_EARLY));
  EXPECT_EQ(all.thread.scheduling().nice(), 7);
  EXPECT_EQ(all.thread.personality(), static_cast<std::uint32_t>(UNAME26));
  EXPECT_TRUE(all.process.child_subreaper());
  EXPECT_EQ(all.process.huge_pages_disabled(), 1U);
  EXPECT_EQ(all.process.umask(), 0137U);
  EXPECT_EQ(all.process.dumpable(), 1U);
}

TEST_F(AttributesTest, NotBeingDumpableComesBack) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may look at such a process";
  expect_attributes_kept([] { return ::prctl(PR_SET_DUMPABLE, 0) == 0; });
}

TEST_F(AttributesTest, SchedulingComesBack) {
  EXPECT_TRUE(expect_attributes_kept([] {
                cpu_set_t first;
                CPU_ZERO(&first);
                CPU_SET(0, &first);
                constexpr int kIdleClass = 3 << 13;
                return ::sched_setaffinity(0, sizeof first, &first) == 0 && ::setpriority(PRIO_PROCESS, 0, 7) == 0 &&
                       ::syscall(SYS_ioprio_set, 1, 0, kIdleClass) == 0;
              }).empty());
  EXPECT_TRUE(expect_attributes_kept([] {
                const sched_param none{};
                return ::sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none) == 0;
              }).empty());
}

TEST_F(AttributesTest, RealTimeSchedulingComesBack) {
  const sched_param ten{.sched_priority = 10};
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  expect_attributes_kept([&] { return ::sched_setscheduler(0, SCHED_FIFO, &ten) == 0; });
  expect_attributes_kept([&] { return ::sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &ten) == 0; });
}

TEST_F(AttributesTest, ProcessorsThatAreMissingAreNoted) {
  const Child child([] { return true; });
  test::Frozen frozen(child.pid());
  All before = captured_attributes(frozen.context());
  before.thread.set_processors(std::string("\x01\0\0\0\0\0\0\x80", 8));
  std::vector<std::string> notes;
  EXPECT_EQ(attributes_given_back(before, notes).thread.processors(), "\x01");
  EXPECT_THAT(notes, Contains(HasSubstr("bound to 2 processors, of which 1 are here")));
  before.thread.set_processors(std::string("\0\0\0\0\0\0\0\x80", 8));
  attributes_given_back(before, notes);
  EXPECT_THAT(notes, Contains(HasSubstr("none of the processors")));
}

TEST_F(AttributesTest, RootDirectoryComesBack) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_TRUE(std::filesystem::create_directories(directory_ + "/jail/cell"));
  expect_attributes_kept([&] { return ::chroot((directory_ + "/jail").c_str()) == 0 && ::chdir("/cell") == 0; });
}

TEST_F(AttributesTest, RefusesADeletedRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string name = directory_ + "/gone";
  ASSERT_TRUE(std::filesystem::create_directory(name));
  const Child child([&] {
    const int outside = ::open("/", O_PATH | O_DIRECTORY);
    return ::chroot(name.c_str()) == 0 && ::unlinkat(outside, name.c_str() + 1, AT_REMOVEDIR) == 0;
  });
  test::Frozen frozen(child.pid());
  captured_attributes(frozen.context());
  try {
    frozen.refusals.throw_if_any();
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(name));
  }
}

TEST_F(AttributesTest, RefusesAThreadWithItsOwnWorkingDirectory) {
  const Child child([] {
    int done = 0;
    std::thread([&done] {
      __atomic_store_n(&done, ::unshare(CLONE_FS) == 0 ? 1 : -1, __ATOMIC_SEQ_CST);
      ::pause();
    }).detach();
    while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) == 0) ::usleep(1000);
    return done == 1;
  });
  test::Frozen frozen(child.pid());
  captured_attributes(frozen.context());
  EXPECT_THROW(frozen.refusals.throw_if_any(), Error);
}

TEST_F(AttributesTest, RefusesSystemCallUserDispatch) {
  const Child child([] {
    constexpr int kSetUserDispatch = 59;
    static char selector = 0;
    const auto everywhere = std::uint64_t{1} << 46;
    return ::prctl(kSetUserDispatch, 1, 0x1000, everywhere, &selector) == 0;
  });
  test::Frozen frozen(child.pid());
  captured_attributes(frozen.context());
  EXPECT_THROW(frozen.refusals.throw_if_any(), Error);
}

TEST_F(AttributesTest, ComparesNamespaces) {
  const Child same([] { return true; });
  {
    test::Frozen frozen(same.pid());
    CaptureContext context = frozen.context();
    check_namespaces(context, nullptr);
    EXPECT_TRUE(frozen.refusals.empty());
  }
  const Child other([] { return ::unshare(CLONE_NEWUSER | CLONE_NEWUTS) == 0; });
  test::Frozen frozen(other.pid());
  CaptureContext context = frozen.context();
  check_namespaces(context, [](std::string_view kind) { return kind == "user" || kind == "uts"; });
  EXPECT_TRUE(frozen.refusals.empty());
  check_namespaces(context, [](std::string_view kind) { return kind == "user"; });
  try {
    frozen.refusals.throw_if_any();
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("host name"));
  }
}

TEST_F(AttributesTest, RefusesDamagedImages) {
  const RestartOptions options;
  const ContentStore content("/nonexistent");
  std::vector<std::string> notes;
  CheckContext context{.options = options, .content = content, .notes = notes};
  image::Attributes attributes;
  EXPECT_THROW(check_attributes(context, attributes, 0), Error);
  for (std::size_t i = 0; i < RLIM_NLIMITS; ++i) attributes.add_limits();
  attributes.set_root("/");
  attributes.set_working_directory(directory_);
  EXPECT_NO_THROW(check_attributes(context, attributes, 0));
  attributes.set_working_directory(directory_ + "/missing");
  try {
    check_attributes(context, attributes, 0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(directory_ + "/missing"));
  }
  attributes.set_working_directory("relative");
  EXPECT_THROW(check_attributes(context, attributes, 0), Error);
  attributes.set_removed_working_directory(0);
  EXPECT_THROW(check_attributes(context, attributes, 0), Error);
  EXPECT_NO_THROW(check_attributes(context, attributes, 1));

  image::ThreadAttributes thread;
  EXPECT_NO_THROW(check_thread_attributes(context, thread));
  thread.set_name("a name of sixteen bytes and more");
  EXPECT_THROW(check_thread_attributes(context, thread), Error);
}

TEST(LimitsTest, AgreeWithTheSystemCall) {
  const std::vector<ResourceLimit> limits = limits_of(::getpid());
  for (std::size_t resource = 0; resource < limits.size(); ++resource) {
    rlimit wanted{};
    ASSERT_EQ(::getrlimit(static_cast<__rlimit_resource>(resource), &wanted), 0);
    EXPECT_EQ(limits[resource], (ResourceLimit{wanted.rlim_cur, wanted.rlim_max})) << resource;
  }
  EXPECT_THROW(parse_limits("Limit Soft Hard\nMax cpu time              12\n"), Error);
  EXPECT_THROW(parse_limits(""), Error);
}

}  // namespace
}  // namespace crs::engine
