#include "test_program.h"

#include <immintrin.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "engine/tracee/wait_status.h"

namespace crs::test {

struct TestProgram::Shared {
  std::atomic<bool> stop{false};
  std::atomic<unsigned long> rounds{0};
};

namespace {

std::atomic<unsigned long> handled_signals{0};

void count_signal(int) { handled_signals.fetch_add(1); }

void expect(bool right, int status) {
  if (!right) ::_exit(status);
}

void check_vectors(unsigned seed) {
  double values[4] = {seed + 1.0, seed + 2.0, seed + 3.0, seed + 4.0};
  double sum = 0;
  for (int i = 0; i < 500; ++i) {
    for (double& value : values) value = std::sqrt(value * value + i) - i / (value + std::sqrt(value * value + i));
    sum += values[0] + values[3];
  }
  double again[4] = {seed + 1.0, seed + 2.0, seed + 3.0, seed + 4.0};
  double sum_again = 0;
  for (int i = 0; i < 500; ++i) {
    for (double& value : again) value = std::sqrt(value * value + i) - i / (value + std::sqrt(value * value + i));
    sum_again += again[0] + again[3];
  }
  expect(sum == sum_again, 11);
}

void check_calls(pid_t pid) {
  expect(::syscall(SYS_getpid) == pid, 12);
  int ends[2];
  expect(::pipe(ends) == 0, 13);
  expect(::write(ends[1], "crs", 3) == 3, 14);
  char text[4] = {};
  expect(::read(ends[0], text, 3) == 3 && text[0] == 'c' && text[2] == 's', 15);
  ::close(ends[0]);
  ::close(ends[1]);
}

void check_signals() {
  sigset_t empty;
  ::sigemptyset(&empty);
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  expect(::sigismember(&mask, SIGUSR1) == 0 && ::sigismember(&mask, SIGTERM) == 0, 16);
  const unsigned long before = handled_signals.load();
  ::pthread_kill(::pthread_self(), SIGUSR1);
  expect(handled_signals.load() > before, 17);
}

long now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000L + time.tv_nsec;
}

// Neither EINTR nor an early end.
void check_sleeps() {
  const timespec wanted{0, 1000000};
  timespec left = wanted;
  const long start = now();
  expect(::nanosleep(&left, &left) == 0, 18);
  const long second = now();
  expect(second - start >= wanted.tv_nsec, 19);
  expect(::nanosleep(&wanted, nullptr) == 0, 20);
  const long third = now();
  expect(third - second >= wanted.tv_nsec, 21);
  expect(::poll(nullptr, 0, 1) == 0, 22);
  expect(now() - third >= wanted.tv_nsec, 23);
}

}  // namespace

TestProgram::TestProgram(int threads) {
  void* const page = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  shared_ = new (page) Shared;
  pid_ = ::fork();
  if (pid_ != 0) return;
  ::signal(SIGUSR1, count_signal);
  ::signal(SIGCHLD, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const pid_t own = ::getpid();
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([this, own, i] {
      for (unsigned seed = static_cast<unsigned>(i); !shared_->stop.load(); ++seed) {
        check_vectors(seed);
        check_calls(own);
        check_signals();
        if (i % 2 == 0) check_sleeps();
        shared_->rounds.fetch_add(1);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  ::_exit(0);
}

TestProgram::~TestProgram() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ::munmap(shared_, sizeof(Shared));
}

unsigned long TestProgram::rounds() const { return shared_->rounds.load(); }

int TestProgram::finish() {
  shared_->stop.store(true);
  int raw = 0;
  ::waitpid(pid_, &raw, 0);
  pid_ = 0;
  return engine::WaitStatus(raw).exit_status();
}

}  // namespace crs::test
