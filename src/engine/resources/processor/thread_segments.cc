#include "engine/resources/processor/thread_segments.h"

#include <asm/ldt.h>
#include <sys/ptrace.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace crs::engine {
namespace {

// GDT_ENTRY_TLS_MIN of the kernel's arch/x86/include/asm/segment.h, on x86-64.
constexpr unsigned kFirstEntry = 12;
using Segments = std::array<user_desc, 3>;

long request(__ptrace_request which, pid_t tid, unsigned entry, user_desc* segment) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the entry's number takes the place of an address
  return ::ptrace(which, tid, reinterpret_cast<void*>(static_cast<unsigned long>(entry)), segment);
}

// LDT_empty() of the kernel's arch/x86/include/asm/desc.h.
bool is_empty(const user_desc& segment) {
  return segment.base_addr == 0 && segment.limit == 0 && segment.read_exec_only == 1 && segment.seg_not_present == 1;
}

}  // namespace

std::string thread_segments_of(pid_t tid) {
  Segments segments{};
  bool any = false;
  for (unsigned i = 0; i < segments.size(); ++i) {
    // A kernel without 32-bit programs (CONFIG_IA32_EMULATION) has none.
    if (request(PTRACE_GET_THREAD_AREA, tid, kFirstEntry + i, &segments.at(i)) != 0) return {};
    any = any || !is_empty(segments.at(i));
  }
  return any ? std::string(reinterpret_cast<const char*>(segments.data()), sizeof segments) : std::string();
}

void check_thread_segments(const std::string& segments) {
  if (!segments.empty() && segments.size() != sizeof(Segments))
    fail(ErrorKind::Damaged, "the snapshot has {} bytes for a thread's own segments", segments.size());
}

void set_thread_segments(pid_t tid, const std::string& segments) {
  if (segments.empty()) return;
  Segments wanted{};
  std::memcpy(wanted.data(), segments.data(), sizeof wanted);
  for (unsigned i = 0; i < wanted.size(); ++i) {
    if (is_empty(wanted.at(i))) continue;
    wanted.at(i).entry_number = kFirstEntry + i;
    if (request(PTRACE_SET_THREAD_AREA, tid, kFirstEntry + i, &wanted.at(i)) != 0)
      fail_errno(errno, "cannot give thread {} its segment {} again (set_thread_area)", tid, kFirstEntry + i);
  }
}

}  // namespace crs::engine
