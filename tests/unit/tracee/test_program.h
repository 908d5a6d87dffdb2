// A child process of the test with several threads that check themselves: arithmetic in general and vector registers,
// results of system calls, signals in flight. Any wrong result ends it with a status other than 0.
#pragma once

#include <sys/types.h>

namespace crs::test {

class TestProgram {
 public:
  explicit TestProgram(int threads);
  // Ends and reaps it.
  ~TestProgram();
  TestProgram(const TestProgram&) = delete;
  TestProgram& operator=(const TestProgram&) = delete;

  pid_t pid() const { return pid_; }
  // Asks all threads to end and returns the exit status: 0 if every check was right; 128+N for signal N.
  int finish();
  // Rounds of checks that all threads together have completed so far.
  unsigned long rounds() const;

 private:
  struct Shared;
  Shared* shared_;
  pid_t pid_ = 0;
};

}  // namespace crs::test
