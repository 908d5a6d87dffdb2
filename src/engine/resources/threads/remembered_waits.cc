#include "engine/resources/threads/remembered_waits.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "base/clock_offsets.h"
#include "base/error.h"
#include "base/io.h"
#include "engine/procfs/status.h"
#include "engine/procfs/tree.h"
#include "engine/resources/threads/remembered_waits.pb.h"

namespace crs::engine {
namespace {

WaitsFile describe(pid_t id) {
  const pid_t pid = process_of(id);
  WaitsFile file;
  file.set_boot_id(read_file("/proc/sys/kernel/random/boot_id"));
  file.set_pid(pid);
  constexpr int kStartTime = 22;
  file.set_start_time(
      start_time_for_all(std::strtoull(stat_field(fmt::format("/proc/{}", pid), kStartTime).c_str(), nullptr, 10)));
  return file;
}

void replace(const std::string& path, const WaitsFile& content) {
  const std::string fresh = path + ".new";
  {
    const FileDescriptor file = open_file(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
    write_all(file.get(), fresh, as_byte_span(content.SerializeAsString()));
  }
  // Not synced: it means nothing after a crash of the machine.
  if (::rename(fresh.c_str(), path.c_str()) != 0) ::unlink(fresh.c_str());
}

}  // namespace

std::uint64_t sleeps_of(pid_t tid) { return ProcessStatus::of(tid).number("voluntary_ctxt_switches"); }

std::uint64_t monotonic_nanoseconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

// Counted from behind the name, which may have blanks.
std::string stat_field(const std::string& task, int number) {
  const std::string text = read_file(task + "/stat");
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 2)));
  std::string field;
  for (int at = 3; at <= number; ++at) fields >> field;
  return field;
}

RememberedWaits::RememberedWaits(const std::string& path, pid_t pid) noexcept {
  if (path.empty()) return;
  try {
    constexpr std::size_t kLargest = std::size_t{1} << 26;
    WaitsFile file;
    const FileDescriptor descriptor = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!file.ParseFromString(read_file(descriptor.get(), path, kLargest))) return;
    const WaitsFile here = describe(pid);
    if (file.boot_id() != here.boot_id() || file.pid() != here.pid() || file.start_time() != here.start_time()) return;
    const auto offset = static_cast<std::uint64_t>(own_clock_offsets().monotonic);
    for (const WaitsFile::Wait& wait : file.waits())
      waits_.push_back({wait.tid(), wait.call(), wait.end() + offset, wait.sleeps()});
  } catch (const std::exception&) {  // nothing was remembered
  }
}

// After it was let go a thread sleeps once more in the same wait. Had it gone to sleep twice, it might be in another
// wait by now.
const RememberedWait* RememberedWaits::find(pid_t tid, std::uint64_t sleeps) const {
  const auto found = std::ranges::find(waits_, tid, &RememberedWait::tid);
  return found != waits_.end() && sleeps <= found->sleeps + 1 ? &*found : nullptr;
}

void remember_waits(const std::string& path, pid_t pid, const std::vector<RememberedWait>& waits) noexcept {
  if (path.empty()) return;
  if (waits.empty()) {
    ::unlink(path.c_str());
    return;
  }
  try {
    WaitsFile file = describe(pid);
    const auto offset = static_cast<std::uint64_t>(own_clock_offsets().monotonic);
    for (const RememberedWait& wait : waits) {
      WaitsFile::Wait& entry = *file.add_waits();
      entry.set_tid(wait.tid);
      entry.set_call(wait.call);
      entry.set_end(wait.end - offset);
      entry.set_sleeps(wait.sleeps);
    }
    replace(path, file);
  } catch (const std::exception&) {  // the store is full, or the program has ended
  }
}

WaitsKeeper::WaitsKeeper(std::string path, const StoppedTree& tree)
    : path_(std::move(path)), root_(tree.members().front().pid) {
  for (const StoppedTree::Member& member : tree.members()) {
    if (member.process) processes_.push_back(member.process.get());
  }
}

WaitsKeeper::WaitsKeeper(std::string path, pid_t root, const StoppedProcess& process, const RememberedWaits& known)
    : path_(std::move(path)), root_(root), processes_{&process}, others_(known.all()) {
  std::erase_if(others_, [&](const RememberedWait& wait) {
    return std::ranges::find(process.threads(), wait.tid, &StoppedThread::tid) != process.threads().end();
  });
}

WaitsKeeper::~WaitsKeeper() {
  if (kept_) return;
  look();
  keep();
}

void WaitsKeeper::look() noexcept {
  waits_ = others_;
  for (const StoppedProcess* const process : processes_) {
    for (const StoppedThread& thread : process->threads()) {
      if (!thread.wait || !thread.wait->remaining) continue;
      try {
        waits_.push_back({thread.tid, thread.wait->call, thread.wait->end, sleeps_of(thread.tid)});
      } catch (const std::exception&) {  // it has ended
      }
    }
  }
}

void WaitsKeeper::keep() noexcept {
  kept_ = true;
  remember_waits(path_, root_, waits_);
}

}  // namespace crs::engine
