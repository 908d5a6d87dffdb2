#include "engine/checkpoint.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "engine/image/process.pb.h"
#include "engine/passes.h"
#include "engine/resources/context.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/threads/threads.h"
#include "engine/suitability/suitability.h"
#include "engine/tracee/borrowed_process.h"
#include "engine/tracee/child_signal.h"

namespace crs::engine {
namespace {

using Clock = std::chrono::steady_clock;

FileDescriptor open_process(pid_t pid) {
  const long number = ::syscall(SYS_pidfd_open, pid, 0);
  if (number < 0) fail_errno(errno, "pidfd_open of process {}", pid);
  return FileDescriptor(static_cast<int>(number));
}

// What is known of the program before it is stopped: everything that need not be part of the pause.
struct Survey {
  explicit Survey(pid_t pid) : gadgets(find_gadgets(pid, RemoteMemory(pid))), waits(pid) {}

  Gadgets gadgets;
  WaitsBefore waits;
};

void write_image(const std::string& directory, const image::Process& image) {
  const std::string path = directory + "/process";
  const FileDescriptor file = open_file(path, O_WRONLY | O_CREAT | O_EXCL);
  std::string bytes;
  if (!image.SerializeToString(&bytes)) fail(ErrorKind::Failed, "the image of the process is too large");
  write_all(file.get(), path, as_byte_span(bytes));
}

std::uint64_t nanoseconds_since(Clock::time_point start) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
}

}  // namespace

CheckpointOutcome checkpoint(pid_t pid, SnapshotSink& sink, const CheckpointOptions& options) {
  const ChildSignalBlocked child_signal;
  Passes passes;
  Refusals refusals;
  SnapshotContents contents;
  image::Process image;
  const LeaveOut leave_out(options.leave_out);
  ContentStore content(sink.location());

  // Look at everything that can be looked at while the program still runs.
  check_is_program(pid);
  refuse_unsuitable(pid, refusals);
  refusals.throw_if_any();
  const FileDescriptor process_descriptor = open_process(pid);
  const Survey survey = passes.run("look", [&] { return Survey(pid); });

  // Stop all threads.
  auto process = passes.run("freeze", [&] { return std::make_unique<StoppedProcess>(pid); });
  refuse_unsuitable(pid, refusals);
  refusals.throw_if_any();

  // Ask the program for what only it knows.
  passes.run("capture", [&] {
    BorrowedProcess borrowed(*process, survey.gadgets);
    std::vector<pid_t> threads;
    for (const StoppedThread& thread : process->threads()) threads.push_back(thread.tid);
    ContentObjects objects(content, *image.mutable_descriptors());
    CaptureContext context{.pid = pid,
                           .own_pid = pid,
                           .pidfd = process_descriptor.get(),
                           .remote = borrowed.main(),
                           .memory = process->memory(),
                           .threads = threads,
                           .refusals = refusals,
                           .warnings = contents.warnings,
                           .content = content,
                           .leave_out = leave_out,
                           .objects = objects};
    borrowed.for_each_thread([&](const StoppedThread& thread, RemoteCaller& remote) {
      image::Thread& thread_image = *image.mutable_threads()->add_threads();
      capture_thread(context, thread, remote, survey.waits, thread_image);
    });
  });
  refusals.throw_if_any();

  // The program goes on; what follows is not part of its pause.
  if (options.after == AfterCheckpoint::Continue) process->release();
  contents.pause_nanoseconds = nanoseconds_since(process->since());
  passes.run("write image", [&] { write_image(sink.location(), image); });
  contents.passes = passes.list();
  sink.commit(contents);

  // Only now that the snapshot is safe may the program be stopped or ended.
  CheckpointOutcome outcome;
  if (options.after == AfterCheckpoint::Stop) process->release_stopped();
  if (options.after == AfterCheckpoint::Kill) {
    process->kill();
    outcome.state = State::Term;
  }
  outcome.pause_nanoseconds = options.after == AfterCheckpoint::Continue ? contents.pause_nanoseconds : nanoseconds_since(process->since());
  return outcome;
}

}  // namespace crs::engine
