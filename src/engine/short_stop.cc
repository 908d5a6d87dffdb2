#include "engine/short_stop.h"

#include "engine/resources/threads/timed_wait.h"
#include "engine/tracee/borrowed_process.h"
#include "engine/tracee/stop_signals.h"

namespace crs::engine {

void ShortStops::stop(const std::function<void(BorrowedThread&)>& action) {
  const WaitsBefore waits(pid_);
  const StopSignalsBlocked stop_signals;
  StoppedProcess process(pid_, [&](pid_t tid) { return waits.elapsed(tid); }, StoppedProcess::At::AnyPlace);
  note_limited_waits(process, waits, remembered_);
  WaitsKeeper keeper(remembered_path_, root_, process, remembered_);
  if (action) {
    BorrowedProcess borrowed(process, gadgets_);
    action(borrowed.main());
  }
  keeper.look();
  process.release();
  total_ += std::chrono::steady_clock::now() - process.since();
  keeper.keep();
  remembered_.replace(keeper.waits());
}

}  // namespace crs::engine
