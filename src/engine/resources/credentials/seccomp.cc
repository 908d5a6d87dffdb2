#include "engine/resources/credentials/seccomp.h"

#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "engine/procfs/status.h"

namespace crs::engine {
namespace {

constexpr std::string_view kOff = "0";
constexpr std::string_view kStrict = "1";

std::string_view mode_in(const ProcessStatus& status) { return status.field("Seccomp").value_or(kOff); }

// An unknown number of filters equals nothing.
bool same_filters(const ProcessStatus& one, const ProcessStatus& other) {
  const auto filters = one.field("Seccomp_filters");
  return filters && mode_in(one) == mode_in(other) && filters == other.field("Seccomp_filters");
}

void refuse_thread(pid_t pid, pid_t tid, const ProcessStatus& own, Refusals& refusals) {
  const ProcessStatus status = ProcessStatus::of(tid);
  const std::string_view mode = mode_in(status);
  if (mode == kOff || same_filters(status, own)) return;
  const std::string what =
      mode == kStrict ? "in seccomp's strict mode"
                      : fmt::format("under {} seccomp filters", status.field("Seccomp_filters").value_or("some"));
  refusals.add(fmt::format("thread {} of process {} runs {}", tid, pid, what),
               "CRS does not keep seccomp filters yet, not for root either; start the program without them");
}

}  // namespace

void refuse_seccomp(pid_t pid, Refusals& refusals) {
  const ProcessStatus own = ProcessStatus::of(::getpid());
  std::error_code gone;
  std::filesystem::directory_iterator tasks(fmt::format("/proc/{}/task", pid), gone);
  for (; !gone && tasks != std::filesystem::directory_iterator(); tasks.increment(gone)) {
    try {
      refuse_thread(pid, static_cast<pid_t>(std::stoi(tasks->path().filename())), own, refusals);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::ProgramGone) throw;  // a thread that ended meanwhile
    }
  }
  if (gone) fail(ErrorKind::ProgramGone, "process {} ended meanwhile", pid);
}

std::uint32_t seccomp_filters_of(pid_t tid) {
  const ProcessStatus status = ProcessStatus::of(tid);
  return status.field("Seccomp_filters") ? static_cast<std::uint32_t>(status.number("Seccomp_filters")) : 0;
}

}  // namespace crs::engine
