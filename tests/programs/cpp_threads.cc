// 64 C++ threads with a queue, condition variables, thread-local objects, exceptions and containers, working all the
// time.
// subject: also-static
// subject: keeps-running 0.1
// subject: never-rests
// subject: ids new
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "subject.h"

namespace {

constexpr int kThreads = 64;

struct Counter {
  std::map<int, long> seen;
  ~Counter() { total += static_cast<long>(seen.size()) > 0; }
  static inline std::atomic<long> total{0};
};
thread_local Counter counter;

// Bounded queue of numbers; pop throws at its end.
class Queue {
 public:
  void push(long value) {
    std::unique_lock lock(mutex_);
    space_.wait(lock, [this] { return values_.size() < 100; });
    values_.push_back(value);
    filled_.notify_one();
  }
  long pop() {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [this] { return closed_ || !values_.empty(); });
    if (values_.empty()) throw std::out_of_range("closed");
    const long value = values_.front();
    values_.pop_front();
    space_.notify_one();
    return value;
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    filled_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_, space_;
  std::deque<long> values_;
  bool closed_ = false;
};

long consume(Queue& queue) {
  long sum = 0;
  try {
    while (true) {
      const long value = queue.pop();
      counter.seen[static_cast<int>(value % 10)]++;
      sum += value;
    }
  } catch (const std::out_of_range&) {
    counter.seen[-1] = 1;
  }
  return sum;
}

}  // namespace

int main() {
  Queue queue;
  std::vector<long> sums(kThreads);
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; i++)
    threads.emplace_back([&queue, &sums, i] { sums[static_cast<std::size_t>(i)] = consume(queue); });
  subject_announce();
  long pushed = 0;
  while (!subject_may_go()) {
    for (int i = 0; i < 200; i++) queue.push(++pushed);
  }
  queue.close();
  threads.clear();
  long sum = 0;
  for (const long value : sums) sum += value;
  SUBJECT_CHECK(sum == pushed * (pushed + 1) / 2, "sum %ld after %ld numbers", sum, pushed);
  SUBJECT_CHECK(Counter::total == kThreads, "%ld thread-local objects were destroyed", Counter::total.load());
  subject_ok();
}
