// Seccomp (seccomp(2)): the filters and the strict mode of threads.
//
// The kernel shows filters, and lets remote calls pass them, only to who has CAP_SYS_ADMIN in the initial user
// namespace and is under none. Filters cannot be taken off, so those that CRS itself is under (a container's) are
// around both.
#pragma once

#include <sys/types.h>

#include <map>

#include "engine/procfs/status.h"
#include "engine/resources/context.h"
#include "engine/resources/credentials/seccomp.pb.h"

namespace crs::engine {

// Refuses a process with a thread under seccomp, unless it can be kept or every such thread has as many filters as CRS
// itself. To be asked before any remote call: a filter may end the program for a call that it does not know.
// `own` is the status of CRS.
void refuse_seccomp(pid_t pid, Refusals& refusals, const ProcessStatus& own);

// Captures the threads of a process, each once.
class SeccompCapture {
 public:
  SeccompCapture(CaptureContext& context, image::Seccomp& seccomp);
  // `status` is that of thread `tid`, which is stopped.
  void add(pid_t tid, const ProcessStatus& status);

 private:
  void add_filters(pid_t tid, image::ThreadSeccomp& thread);
  std::uint32_t index_of(std::string program, bool logged);

  CaptureContext& context_;
  image::Seccomp& seccomp_;
  bool is_around_ = false;  // the filters are those that CRS is under
  std::map<std::pair<std::string, bool>, std::uint32_t> known_;
};

// Throws what cannot be, or what this caller cannot give back.
void check_seccomp(CheckContext& context, const image::Seccomp& seccomp);
// The threads exist and have the rights of CRS still: without CAP_SYS_ADMIN filters take no_new_privs, which the
// program need not have. Remote calls are not subject to the filters.
void restore_seccomp(RestoreContext& context, const image::Seccomp& seccomp);

// Whether the thread is in strict mode.
bool is_in_strict_mode(const ProcessStatus& status);

}  // namespace crs::engine
