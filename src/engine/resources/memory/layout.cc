#include "engine/resources/memory/layout.h"

#include <fmt/format.h>
#include <linux/prctl.h>
#include <sys/syscall.h>

#include <charconv>
#include <vector>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {
namespace {

std::uint64_t number(std::string_view word) {
  std::uint64_t value = 0;
  std::from_chars(word.data(), word.data() + word.size(), value);
  return value;
}

// The words behind the command's name, which is in parentheses and may hold anything. The first is field 3 of
// proc_pid_stat(5).
std::vector<std::string_view> words_of(std::string_view stat) {
  std::vector<std::string_view> words;
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos) return words;
  stat.remove_prefix(name_end + 1);
  while (true) {
    const std::size_t start = stat.find_first_not_of(" \n");
    if (start == std::string_view::npos) return words;
    stat.remove_prefix(start);
    const std::size_t length = std::min(stat.find_first_of(" \n"), stat.size());
    words.push_back(stat.substr(0, length));
    stat.remove_prefix(length);
  }
}

}  // namespace

void parse_stat(std::string_view stat, image::Layout& layout) {
  constexpr std::size_t kFirst = 3;
  const std::vector<std::string_view> words = words_of(stat);
  if (words.size() < 51 - kFirst + 1) fail(ErrorKind::Failed, "/proc/PID/stat is not understood: {}", stat);
  const auto field = [&](std::size_t field_number) { return number(words[field_number - kFirst]); };
  layout.set_start_code(field(26));
  layout.set_end_code(field(27));
  layout.set_start_stack(field(28));
  layout.set_start_data(field(45));
  layout.set_end_data(field(46));
  layout.set_start_brk(field(47));
  layout.set_arg_start(field(48));
  layout.set_arg_end(field(49));
  layout.set_env_start(field(50));
  layout.set_env_end(field(51));
}

void foresee_layout(Questions& questions) {
  questions.of_copy_too.push_back({SYS_brk, {}, RemoteCaller::kReturned});  // of the memory
}

void capture_layout(pid_t pid, RemoteCaller& remote, image::Layout& layout) {
  parse_stat(read_file(fmt::format("/proc/{}/stat", pid)), layout);
  // brk(0) changes nothing and returns the present value: the one address that is shown nowhere.
  layout.set_brk(static_cast<std::uint64_t>(remote.call("brk", SYS_brk, 0)));
  layout.set_auxiliary_vector(read_file(fmt::format("/proc/{}/auxv", pid)));
}

int restore_layout(RemoteCaller& remote, const image::Layout& layout, int executable) {
  // Behind the structure, with room for a later one.
  constexpr std::size_t kVectorOffset = 128;
  const std::string& vector = layout.auxiliary_vector();
  prctl_mm_map map{};
  map.start_code = layout.start_code();
  map.end_code = layout.end_code();
  map.start_data = layout.start_data();
  map.end_data = layout.end_data();
  map.start_brk = layout.start_brk();
  map.brk = layout.brk();
  map.start_stack = layout.start_stack();
  map.arg_start = layout.arg_start();
  map.arg_end = layout.arg_end();
  map.env_start = layout.env_start();
  map.env_end = layout.env_end();
  map.auxv = reinterpret_cast<__u64*>((remote.scratch() + kVectorOffset).value);  // NOLINT(performance-no-int-to-ptr)
  map.auxv_size = static_cast<__u32>(vector.size());
  map.exe_fd = static_cast<__u32>(executable);
  const RemoteAddress place = remote.put(map);
  if (!vector.empty()) remote.memory().write(remote.scratch() + kVectorOffset, as_byte_span(vector));
  return static_cast<int>(-remote.raw_call(SYS_prctl, {PR_SET_MM, PR_SET_MM_MAP, place.value, sizeof map, 0, 0}));
}

}  // namespace crs::engine
