// What /proc/ID/status says of a process or of one thread (proc_pid_status(5)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crs::engine {

class ProcessStatus {
 public:
  // `id` is a process or thread id as the caller sees it: /proc/ID serves both. Throws ProgramGone if there is no such
  // task.
  static ProcessStatus of(pid_t id);
  // `text` is the file's content.
  explicit ProcessStatus(std::string text) : text_(std::move(text)) {}

  // What stands behind "NAME:", without the blanks around it; nothing if this kernel does not tell.
  std::optional<std::string_view> field(std::string_view name) const;
  // The field's numbers, separated by blanks, in `base`. Throws if the field is missing or is anything else.
  std::vector<std::uint64_t> numbers(std::string_view name, int base = 10) const;
  // The first of them. Throws if there is none.
  std::uint64_t number(std::string_view name, int base = 10) const;
  std::uint64_t hexadecimal(std::string_view name) const { return number(name, 16); }

 private:
  std::string text_;
};

// The content of /proc/ID/NAME. Throws ProgramGone if there is no such task; other errors keep their errno.
std::string read_task_file(pid_t id, std::string_view name);

// The id that the program itself sees where the caller sees `id`: the innermost entry of NSpid.
pid_t innermost_id(pid_t id);
pid_t innermost_id(const ProcessStatus& status);

}  // namespace crs::engine
