#include "engine/checkpoint.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <sstream>

#include "base/error.h"
#include "base/io.h"
#include "engine/image/process.pb.h"
#include "engine/pages/process_pages.h"
#include "engine/passes.h"
#include "engine/procfs/status.h"
#include "engine/resources/attributes/attributes.h"
#include "engine/resources/attributes/namespaces.h"
#include "engine/resources/context.h"
#include "engine/resources/credentials/credentials.h"
#include "engine/resources/descriptors/descriptors.h"
#include "engine/resources/memory/exclusion.h"
#include "engine/resources/memory/memory.h"
#include "engine/resources/processor/processor.h"
#include "engine/resources/sessions/sessions.h"
#include "engine/resources/signals/signals.h"
#include "engine/resources/threads/clock_waits.h"
#include "engine/resources/threads/threads.h"
#include "engine/resources/timers/timers.h"
#include "engine/short_stop.h"
#include "engine/suitability/suitability.h"
#include "engine/tracee/borrowed_process.h"
#include "engine/tracee/child_signal.h"
#include "engine/tracee/stop_signals.h"
#include "engine/tracking/incremental.h"

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
  explicit Survey(pid_t pid)
      : gadgets(find_gadgets_of_running(pid, RemoteMemory(pid))), memory(look_at_memory(pid)), waits(pid) {}

  Gadgets gadgets;
  MemorySurvey memory;
  WaitsBefore waits;
};

std::vector<pid_t> ids_of(const StoppedProcess& process) {
  std::vector<pid_t> ids;
  for (const StoppedThread& thread : process.threads()) ids.push_back(thread.tid);
  return ids;
}

// Every room's part: timers before the signals that they may send meanwhile, then in the order of the image.
// Returns which pages are to be saved.
// NOLINTNEXTLINE(readability-function-size): a story is a list of steps
std::vector<PageArea> capture_process(CaptureContext& context, const Survey& survey, BorrowedProcess& borrowed,
                                      Passes& passes, image::Process& image) {
  image.set_pid(context.own_pid);
  capture_session(context, *image.mutable_session());
  const auto before_timers = Clock::now();
  passes.run("timers", [&] { capture_timers(context, *image.mutable_timers()); });
  passes.run("threads", [&] {
    capture_boot(*image.mutable_threads());
    borrowed.for_each_thread([&](const StoppedThread& thread, RemoteCaller& remote) {
      capture_thread(context, thread, remote, *image.mutable_threads()->add_threads());
      if (thread.tid == context.pid) image.set_stopped(thread.group_stopped);
    });
  });
  auto pages =
      passes.run("memory areas", [&] { return capture_memory(context, survey.memory, *image.mutable_memory()); });
  passes.run("descriptors", [&] { capture_descriptors(context, *image.mutable_descriptors()); });
  passes.run("signals", [&] { capture_signals(context, *image.mutable_signals()); });
  std::vector<const image::ThreadSignals*> of_threads;
  for (const image::Thread& thread : image.threads().threads()) of_threads.push_back(&thread.signals());
  account_for_expirations(*image.mutable_timers(), image.signals(), of_threads, before_timers);
  passes.run("credentials", [&] { capture_credentials(context, *image.mutable_credentials()); });
  passes.run("attributes", [&] { capture_attributes(context, *image.mutable_attributes()); });
  refuse_foreign_code(context);
  check_namespaces(context, [&](std::string_view kind) { return is_made_by_restart(context.pid, kind); });
  return pages;
}

// What the manifest says of the program: asked for while it still runs ...
void describe(pid_t pid, SnapshotContents& contents) {
  contents.executable = read_link(fmt::format("/proc/{}/exe", pid));
  contents.cpu_features = processor_features();
  std::istringstream arguments(read_file(fmt::format("/proc/{}/cmdline", pid)));
  for (std::string argument; std::getline(arguments, argument, '\0');) contents.command_line.push_back(argument);
}

// ... and taken from its image when it runs again.
void describe(const image::Process& image, SnapshotContents& contents) {
  contents.pid = image.pid();
  contents.threads = static_cast<std::uint32_t>(image.threads().threads_size());
  contents.memory_bytes = image.memory().page_bytes();
  contents.working_directory = image.attributes().working_directory();
  for (const image::AddressRange& range : image.memory().excluded())
    contents.excluded.push_back({range.start(), range.end()});
}

ExtentWriterOptions writer_options(const CheckpointOptions& options) {
  ExtentWriterOptions result = parse_compression(options.compression);
  result.bytes_per_second = options.write_limit;
  return result;
}

// Null if there cannot be one: then all is read while the program stands still.
std::unique_ptr<Twin> make_twin(const StoppedProcess& process, const Gadgets& gadgets, RemoteRange& scratch) {
  try {
    BorrowedProcess borrowed(process, gadgets);
    scratch = borrowed.scratch_range();
    return std::make_unique<Twin>(borrowed);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::ProgramGone) throw;
    return nullptr;
  }
}

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

// NOLINTNEXTLINE(readability-function-size): a story is a list of steps
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
  RememberedWaits remembered(options.remembered_path, pid);
  Incremental incremental(options);
  Survey survey = passes.run("look", [&] {
    describe(pid, contents);
    wait_for_memory(pid, options.remembered_path);
    return Survey(pid);
  });
  incremental.hide_tracking(pid, survey.memory.areas);

  // Copy what can be copied while it goes on.
  ExtentWriter writer(sink.location(), kPagesName, writer_options(options));
  ProcessPages process_pages(writer);
  ShortStops short_stops(pid, options.remembered_path, remembered, survey.gadgets);
  const bool continues = incremental.continue_from_earlier(pid, process_pages, contents.warnings);
  if (options.after == AfterCheckpoint::Continue || continues) {
    passes.run("copy ahead", [&] {
      process_pages.copy_ahead(pid, areas_to_copy_ahead(survey.memory, options.exclude),
                               [&](const auto& action) { short_stops.stop(action); });
    });
    survey.memory.writes_tracked = process_pages.tracks();
    look_again(pid, survey.memory);
    survey.waits = WaitsBefore(pid);
  }

  // Stop all threads.
  std::optional<StopSignalsBlocked> stop_signals(std::in_place);
  auto process = passes.run("freeze", [&] {
    return std::make_unique<StoppedProcess>(pid, [&](pid_t tid) { return survey.waits.elapsed(tid); });
  });
  note_limited_waits(*process, survey.waits, remembered);
  WaitsKeeper keeper(options.remembered_path, *process);
  refuse_unsuitable(pid, refusals);
  refusals.throw_if_any();

  // Ask every room for its part; what cannot be kept stops the checkpoint here, before the pages are written.
  check_not_in_use(whole_pages_of(options.exclude), process->threads());
  const std::vector<pid_t> threads = ids_of(*process);
  ContentObjects objects(content, *image.mutable_descriptors());
  const std::vector<PageArea> pages = passes.run("capture", [&] {
    BorrowedProcess borrowed(*process, survey.gadgets);
    CaptureContext context{.pid = pid,
                           .own_pid = innermost_id(pid),
                           .pidfd = process_descriptor.get(),
                           .remote = borrowed.main(),
                           .memory = process->memory(),
                           .threads = threads,
                           .refusals = refusals,
                           .warnings = contents.warnings,
                           .content = content,
                           .leave_out = leave_out,
                           .objects = objects,
                           .options = options};
    return capture_process(context, survey, borrowed, passes, image);
  });
  refusals.throw_if_any();

  // What is left of the pages, while the program stands still with nothing borrowed.
  passes.run("pages", [&] {
    process_pages.take(process->memory(), pages,
                       [&](RemoteRange& scratch) { return make_twin(*process, survey.gadgets, scratch); });
  });

  // The program goes on; what follows is not part of its pause.
  if (options.after == AfterCheckpoint::Continue) {
    keeper.look();
    process->release();
    stop_signals.reset();
    keeper.keep();
  }
  contents.pause_nanoseconds =
      nanoseconds_since(process->since()) + static_cast<std::uint64_t>(short_stops.total().count());
  passes.run("write pages", [&] {
    record_pages(incremental.finish(pid, process_pages), *image.mutable_memory());
    writer.finish();
  });
  passes.add_bytes(image.memory().page_bytes());
  describe(image, contents);
  passes.run("write image", [&] { write_image(sink.location(), image); });
  contents.passes = passes.list();
  contents.parent_sequence = incremental.parent_sequence();
  sink.commit(contents);
  incremental.keep();

  // Only now that the snapshot is safe may the program be stopped or ended.
  CheckpointOutcome outcome;
  if (options.after == AfterCheckpoint::Stop) process->release_stopped();
  if (options.after == AfterCheckpoint::Kill) {
    process->kill();
    outcome.state = State::Term;
  }
  outcome.pause_nanoseconds =
      options.after == AfterCheckpoint::Continue ? contents.pause_nanoseconds : nanoseconds_since(process->since());
  return outcome;
}

}  // namespace crs::engine
