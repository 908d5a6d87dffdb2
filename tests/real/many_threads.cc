// 64 threads that compute, meet at a barrier, and hand each other work through a queue with a condition variable.
//     many_threads ROUNDS        appends to thread-NN.log, writes result.txt, prints a summary, exits with 17
#include <barrier>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kThreads = 64;

// Every thread puts its value in for its neighbour and takes what was put in for itself.
class Exchange {
 public:
  void put(int receiver, double value) {
    const std::lock_guard guard(mutex_);
    queues_[receiver].push(value);
    changed_.notify_all();
  }

  double take(int receiver) {
    std::unique_lock guard(mutex_);
    while (queues_[receiver].empty()) changed_.wait_for(guard, std::chrono::milliseconds(50));
    const double value = queues_[receiver].front();
    queues_[receiver].pop();
    return value;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, std::queue<double>> queues_;
};

double compute(std::vector<float>& vector, double seed) {
  double sum = seed;
  for (int repetition = 0; repetition < 20; ++repetition) {
    for (float& element : vector) {
      element = element * 0.9375F + static_cast<float>(sum) * 0.001F + 1.0F;
      if (element > 1e6F) element = 1.0F;
    }
    sum = std::fmod(sum + std::sin(vector[static_cast<std::size_t>(repetition)]) * 100, 1000.0);
  }
  return sum;
}

void work(int number, int rounds, Exchange& exchange, std::barrier<>& meeting, double& result) {
  char name[32];
  std::snprintf(name, sizeof name, "thread-%02d.log", number);
  std::ofstream log(name, std::ios::app);
  log.precision(17);
  std::vector<float> vector(1500, static_cast<float>(number));
  thread_local double own = number;
  for (int round = 0; round < rounds; ++round) {
    own = compute(vector, own);
    exchange.put((number + round % 7 + 1) % kThreads, own);
    meeting.arrive_and_wait();
    own = exchange.take(number);
    log << round << ' ' << own << std::endl;
    meeting.arrive_and_wait();
  }
  result = own;
}

}  // namespace

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::atoi(arguments[1]) : 100;
  Exchange exchange;
  std::barrier meeting(kThreads);
  std::vector<double> results(kThreads);
  std::vector<std::thread> threads;
  for (int number = 0; number < kThreads; ++number) {
    threads.emplace_back(work, number, rounds, std::ref(exchange), std::ref(meeting),
                         std::ref(results[static_cast<std::size_t>(number)]));
  }
  for (std::thread& thread : threads) thread.join();
  std::ofstream file("result.txt");
  file.precision(17);
  for (const double result : results) file << result << '\n';
  file.close();
  std::printf("%d threads, %d rounds\n", kThreads, rounds);
  return file ? 17 : 1;
}
