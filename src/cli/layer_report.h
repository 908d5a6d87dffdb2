// What a restarted program with a service hears from the restart, and what its layers report in return.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "cli/context.h"
#include "crs/service.hpp"
#include "wire/connection.h"

namespace crs::cli {

// Makes the channel, with the news in it for the program to read: as much as there is room for, the rest while waiting.
class LayerReport {
 public:
  // `snapshot` is what the program is started from; the layers have so long to report.
  LayerReport(Context& context, Reference snapshot, const RestartNews& news, std::chrono::nanoseconds limit);
  // Ends a wait.
  ~LayerReport();
  LayerReport(const LayerReport&) = delete;
  LayerReport& operator=(const LayerReport&) = delete;

  // The program's end, for RestartOptions.
  int channel() const noexcept { return program_end_.get(); }
  // The program has it, if it wants one: a program without a service is seen by that.
  void handed_over() { program_end_.reset(); }

  // Waits for the report, tells the user what failed, and keeps the times in the store.
  void wait();
  // The same beside what else is to be done. All signals must be blocked.
  void wait_aside();

  // After wait(): what went wrong in layers, which may have ended the program, or taken longer than they may.
  const std::vector<std::string>& failures() const noexcept { return failures_; }

 private:
  void take(const wire::Message& message);
  void fail_with(std::string failure);

  Context& context_;
  Reference snapshot_;
  std::chrono::nanoseconds limit_;
  FileDescriptor program_end_;
  wire::Connection connection_;
  std::vector<std::string> failures_;
  std::atomic<bool> ends_ = false;
  std::thread waiting_;
};

}  // namespace crs::cli
