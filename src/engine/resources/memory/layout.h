// The bookkeeping addresses of an address space (mm_struct): code, data, brk, stack, arguments, environment, auxiliary
// vector, executable.
#pragma once

#include <sys/types.h>

#include <string_view>

#include "engine/resources/memory/memory.pb.h"
#include "engine/tracee/asked_ahead.h"
#include "engine/tracee/remote_caller.h"

namespace crs::engine {

// The numbers of /proc/PID/stat (proc_pid_stat(5)).
void parse_stat(std::string_view stat, image::Layout& layout);

// What capture_layout() is going to ask.
void foresee_layout(Questions& questions);
// `remote` is a stopped thread of process `pid`.
void capture_layout(pid_t pid, RemoteCaller& remote, image::Layout& layout);

// Sets everything with prctl(PR_SET_MM_MAP). `executable` is a descriptor of the newborn, or -1: the link /proc/PID/exe
// stays as it is. Returns 0 or the errno.
int restore_layout(RemoteCaller& remote, const image::Layout& layout, int executable);

}  // namespace crs::engine
