#include "engine/resources/processor/local_descriptors.h"

#include <asm/ldt.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace crs::engine {
namespace {

constexpr std::uint64_t kRead = 0;      // functions of modify_ldt(2)
constexpr std::uint64_t kWrite = 0x11;  // unlike function 1 it leaves the bit "useable" as it is
constexpr std::uint64_t kTableBytes = std::uint64_t{LDT_ENTRIES} * LDT_ENTRY_SIZE;

// The kernel's result is one of 32 bits, also where it is an error.
int modify_table(RemoteCaller& remote, std::uint64_t function, RemoteAddress place, std::uint64_t bytes) {
  return static_cast<int>(remote.raw_call(SYS_modify_ldt, {function, place.value, bytes, 0, 0, 0}));
}

// The kernel fills whatever room it is given with zeros behind the table, so that its length is not known.
std::string without_empty_end(std::string table) {
  while (table.size() > LDT_ENTRY_SIZE &&
         std::all_of(table.end() - LDT_ENTRY_SIZE, table.end(), [](char byte) { return byte == 0; })) {
    table.resize(table.size() - LDT_ENTRY_SIZE);
  }
  return table;
}

// A descriptor as the processor has it ("Segment Descriptor" in its manuals; fill_ldt() of the kernel makes it).
user_desc as_request(std::uint64_t descriptor, unsigned number) {
  const auto bits = [&](unsigned first, unsigned count) {
    return static_cast<unsigned>(descriptor >> first & ((std::uint64_t{1} << count) - 1));
  };
  user_desc request{};
  request.entry_number = number;
  request.base_addr = bits(16, 24) | bits(56, 8) << 24U;
  request.limit = bits(0, 16) | bits(48, 4) << 16U;
  request.read_exec_only = (bits(41, 1) ^ 1U) & 1U;
  request.contents = bits(42, 2) & 3U;
  request.seg_not_present = (bits(47, 1) ^ 1U) & 1U;
  request.useable = bits(52, 1) & 1U;
  request.seg_32bit = bits(54, 1) & 1U;
  request.limit_in_pages = bits(55, 1) & 1U;
  return request;
}

user_desc empty_request(unsigned number) {
  user_desc request{};
  request.entry_number = number;
  request.read_exec_only = 1;
  request.seg_not_present = 1;
  return request;
}

}  // namespace

void capture_local_descriptors(CaptureContext& context, image::Attributes& attributes) {
  RemoteCaller& remote = context.remote;
  // Hardly any process has one: nothing more is done then.
  if (modify_table(remote, kRead, remote.scratch(), LDT_ENTRY_SIZE) <= 0) return;
  const std::int64_t place = remote.raw_call(
      SYS_mmap, {0, kTableBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, ~std::uint64_t{0}, 0});
  if (place < 0) {
    context.refusals.add(
        fmt::format("process {} has segments of its own (modify_ldt) and no room for reading them", context.own_pid),
        "raise its limit of memory (RLIMIT_AS)");
    return;
  }
  const RemoteAddress table{static_cast<std::uint64_t>(place)};
  const int bytes = modify_table(remote, kRead, table, kTableBytes);
  std::string content(static_cast<std::size_t>(std::max(bytes, 0)), '\0');
  context.memory.read(table, std::as_writable_bytes(std::span(content)));
  remote.call("munmap", SYS_munmap, table, kTableBytes);
  attributes.set_local_descriptors(without_empty_end(std::move(content)));
}

void check_local_descriptors(const image::Attributes& attributes) {
  const std::size_t bytes = attributes.local_descriptors().size();
  if (bytes > kTableBytes || bytes % LDT_ENTRY_SIZE != 0)
    fail(ErrorKind::Damaged, "the snapshot has a table of {} bytes for a process's own segments", bytes);
}

void restore_local_descriptors(RestoreContext& context, const image::Attributes& attributes) {
  const std::string& table = attributes.local_descriptors();
  RemoteCaller& remote = context.remote;
  for (std::size_t start = 0; start < table.size(); start += LDT_ENTRY_SIZE) {
    std::uint64_t descriptor = 0;
    std::memcpy(&descriptor, table.data() + start, sizeof descriptor);
    const auto number = static_cast<unsigned>(start / LDT_ENTRY_SIZE);
    if (descriptor == 0 && number != 0) continue;  // the first one makes a table, if it has nothing in it
    const RemoteAddress request = remote.put(descriptor == 0 ? empty_request(number) : as_request(descriptor, number));
    const int result = modify_table(remote, kWrite, request, sizeof(user_desc));
    if (result != 0) fail_errno(-result, "cannot give the program its segment {} again (modify_ldt)", number);
  }
}

}  // namespace crs::engine
