#include "engine/tracee/twin.h"

#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "engine/tracee/memory_sharer.h"
#include "engine/tracee/ptrace.h"

namespace crs::engine {
namespace {

bool adopts_orphans(RemoteCaller& remote) {
  remote.call("prctl(PR_GET_CHILD_SUBREAPER)", SYS_prctl, PR_GET_CHILD_SUBREAPER, remote.put(0));
  return remote.get<int>() != 0;
}

pid_t make_twin(BorrowedThread& borrowed) {
  if (adopts_orphans(borrowed)) fail(ErrorKind::Failed, "process {} adopts orphaned processes", borrowed.tid());
  MemorySharer sharer(borrowed);
  return sharer.make_copy();
}

}  // namespace

Twin::Twin(BorrowedProcess& borrowed) : pid_(make_twin(borrowed.main())) {}

Twin::~Twin() { ptrace::end(pid_); }

}  // namespace crs::engine
