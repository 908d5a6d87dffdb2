// Attributes: what a process, and each of its threads, is beside memory, descriptors, signals and credentials.
//
// Of the process: working directory, root, umask, resource limits, dumpable, child subreaper, huge page setting,
// oom_score_adj, core dump filter, write-execute denial, memory merging. Of a thread: name, scheduling, allowed
// processors, I/O priority, timer slack, parent-death signal, personality and rarer prctl(2) settings. Control groups
// are those of the restarting side.
//
// Restoring goes in steps, since some settings stand in the way of building a process and others are undone by it:
//   restore_attributes_inside    inside the newborn
//   restore_directories_inside   after every other room's part there, and after those of all processes that share its
//                                directories: from then on paths lead where the program's lead
//   restore_attributes           when all memory is mapped and all threads exist (limits apply from here on)
//   restore_thread_attributes    for each thread
//   finish_thread_attributes, finish_attributes   after the credentials, when nothing more is mapped
#pragma once

#include <functional>
#include <string_view>

#include "engine/resources/attributes/attributes.pb.h"
#include "engine/resources/context.h"

namespace crs::engine {

// Refuses what cannot come back: a root that is deleted, a working directory or root that only some threads have, a
// descriptor table that only some have, shadow stacks, tagged addresses, system call user dispatch, core scheduling
// (noted only).
// What capture_attributes() and capture_thread_attributes() are going to ask.
void foresee_attributes(Questions& questions);
void foresee_thread_attributes(Questions& questions);
void capture_attributes(CaptureContext& context, image::Attributes& attributes);
// `thread` is one of the frozen process's threads.
void capture_thread_attributes(CaptureContext& context, RemoteCaller& thread, image::ThreadAttributes& attributes);
// Only whether they can be kept (CaptureContext::only_looks).
void look_at_thread_attributes(CaptureContext& context, pid_t tid);

// Throw an Error of kind Damaged for what no kernel can have said, of kind Failed for directories that are gone.
// `content_objects`: how many the image has.
void check_attributes(CheckContext& context, const image::Attributes& attributes, std::uint32_t content_objects);
void check_thread_attributes(CheckContext& context, const image::ThreadAttributes& attributes);

void restore_attributes_inside(NewbornContext& context, const image::Attributes& attributes);
// Nothing where they are another process's.
void restore_directories_inside(NewbornContext& context, const image::Attributes& attributes);
void restore_attributes(RestoreContext& context, const image::Attributes& attributes);
void restore_thread_attributes(RestoreContext& context, RemoteCaller& thread,
                               const image::ThreadAttributes& attributes);
void finish_thread_attributes(RestoreContext& context, RemoteCaller& thread, const image::ThreadAttributes& attributes);
void finish_attributes(RestoreContext& context, const image::Attributes& attributes);

// Optional processor state (AMX tiles) that the program asked the kernel for. To be called before registers are set.
void restore_state_components(RestoreContext& context, const image::Attributes& attributes);

}  // namespace crs::engine
