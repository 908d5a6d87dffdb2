#include "engine/resources/context.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/error.h"
#include "base/io.h"

namespace crs::engine {

void Refusals::add(std::string what, std::string advice) {
  const auto says_so = [&](const Refusal& entry) { return entry.what == what; };
  if (std::ranges::none_of(entries_, says_so)) entries_.push_back({std::move(what), std::move(advice)});
}

void Refusals::throw_if_any() const {
  if (entries_.empty()) return;
  std::string all;
  for (const Refusal& entry : entries_) {
    if (!all.empty()) all += "; ";
    all += entry.what;
    if (!entry.advice.empty()) all += " (" + entry.advice + ")";
  }
  throw Error(ErrorKind::Refused, "cannot be kept: " + all).list(entries_);
}

void tell_lack(CaptureContext& context, const std::string& what, const std::string& advice) {
  if (context.options.after != AfterCheckpoint::Continue) return context.refusals.add(what, advice);
  context.warnings.push_back(fmt::format("{}; before a restart, {}", what, advice));
}

LeaveOut::LeaveOut(const std::vector<std::string>& exceptions) {
  constexpr std::string_view kDescriptor = "fd=";
  for (const std::string& exception : exceptions) {
    int number = -1;
    const char* const end = exception.data() + exception.size();
    const bool is_descriptor = exception.starts_with(kDescriptor);
    const char* const digits = exception.data() + (is_descriptor ? kDescriptor.size() : 0);
    const auto [stop, problem] = std::from_chars(digits, end, number);
    if (!is_descriptor || problem != std::errc{} || stop != end || number < 0) {
      throw Error(ErrorKind::Usage, fmt::format("cannot leave out '{}'", exception))
          .advise("Give fd=N with a descriptor's number");
    }
    descriptors_.push_back(number);
  }
}

bool LeaveOut::descriptor(int number) const { return std::ranges::find(descriptors_, number) != descriptors_.end(); }

std::pair<std::string, FileDescriptor> ContentStore::create() {
  const std::string folder = directory_ + "/files";
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) fail_errno(errno, "cannot create {}", folder);
  std::string name = fmt::format("files/{}", next_++);
  FileDescriptor file = open_file(directory_ + "/" + name, O_RDWR | O_CREAT | O_EXCL);
  return {std::move(name), std::move(file)};
}

FileDescriptor ContentStore::open(const std::string& name) const {
  constexpr std::string_view kFolder = "files/";
  const bool well_formed = name.starts_with(kFolder) && name.size() > kFolder.size() &&
                           name.find_first_not_of("0123456789", kFolder.size()) == std::string::npos;
  if (!well_formed) fail(ErrorKind::Damaged, "the snapshot names a content file '{}', which cannot be", name);
  return open_file(directory_ + "/" + name, O_RDONLY | O_NOFOLLOW);
}

}  // namespace crs::engine
