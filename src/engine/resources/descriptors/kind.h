// A kind of open file description: how it is recognised, captured, checked and opened again.
//
// A new kind is a folder with its message (KIND.proto, one line in OpenDescription), one class derived from Kind, and
// one line in kinds.cc. An instance serves one operation (a capture, a check or a restore) and may keep what its
// descriptions share meanwhile.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"
#include "engine/resources/context.h"
#include "engine/resources/descriptors/content_objects.h"
#include "engine/resources/descriptors/descriptors.pb.h"
#include "engine/resources/descriptors/seen.h"

namespace crs::engine {

// No descriptor number of an image is higher: the kernel's own limit (fs.nr_open) is never set above it in practice.
inline constexpr int kHighestNumber = (1 << 26) - 1;

// O_LARGEFILE as F_GETFL shows it of every file that open(2) opened on x86-64, where the C library defines the name as
// 0.
inline constexpr std::uint32_t kLargeFile = 0100000;

class UnixSurvey;

// "descriptor 7", or "descriptor 7 of process 4711" where there are several processes.
std::string name_of(const image::Descriptor& descriptor, std::span<const pid_t> process_ids);
std::string name_of(std::uint32_t process, int number, std::span<const pid_t> process_ids);

// Shared by all kinds during a capture.
struct TableCapture {
  TableCapture(CaptureContext& captured, std::span<const CapturedProcess> tree, image::Descriptors& descriptors,
               const std::vector<Seen>& table, std::vector<SeenNumber> left);

  CaptureContext& context;  // of the root
  std::span<const CapturedProcess> processes;
  image::Descriptors& image;
  const std::vector<Seen>& seen;  // the whole table, without what is left out
  std::vector<SeenNumber> left_out;
  const UnixSurvey* unix_sockets = nullptr;

  // The description that descriptor `number` of that process leads to, or nothing.
  const Seen* find(std::uint32_t process, int number) const;
  // The first process that has `one` open.
  const CapturedProcess& holder(const Seen& one) const { return processes[one.first_process()]; }
  // The process that has this process or thread id, as CRS sees it, or nothing.
  std::optional<std::uint32_t> find_process(pid_t id) const;
  // "descriptor 7 of process 4711".
  std::string name_of(const Seen& one) const;
  // Whether all numbers of `one` belong to layers of the program that reopen them after a restart.
  bool is_expendable(const Seen& one) const;
  // Refuses `one`: "descriptor 7 of process 4711 is WHAT", with advice to close it or to leave it out. What is
  // expendable is given up instead.
  void refuse(const Seen& one, std::string_view what);
  // The same for what can be captured, but not be had again by this user (tell_lack of context.h): "descriptor 7 of
  // process 4711 is WHAT".
  void lack(const Seen& one, std::string_view what, std::string_view advice);
  // Where `one` is in the image; nothing if it is not there (yet). Of one that stands there several times: the first.
  std::optional<std::uint32_t> description_of(const Seen& one) const;
  void set_description(const Seen& one, std::uint32_t index) { descriptions_.emplace(&one, index); }
  // Whether something was given up since the last time this was asked.
  bool take_given_up() { return std::exchange(given_up_, false); }

 private:
  bool is_expendable(const SeenNumber& number) const;
  const SeenNumber& number_to_tell(const Seen& one) const;

  std::map<std::pair<std::uint32_t, int>, const Seen*> by_number_;
  std::unordered_map<pid_t, std::uint32_t> by_id_;  // processes and threads
  std::unordered_map<const Seen*, std::uint32_t> descriptions_;
  bool given_up_ = false;
};

struct TableCheck {
  CheckContext& context;
  const image::Descriptors& image;
};

// Shared by all kinds during the restore in the newborn.
class TableRestore {
 public:
  // `takes_streams`: the restart command's streams are still open.
  TableRestore(NewbornContext& context, const image::Descriptors& image, bool takes_streams = true);

  NewbornContext& context;
  const image::Descriptors& image;
  // Of each unlinked file, the description that made it, until its own in the image takes it.
  std::map<std::uint32_t, FileDescriptor> makers;

  // Moves a descriptor out of the way of the image's numbers.
  FileDescriptor aside(FileDescriptor descriptor) const;
  // A copy of the restart command's stream 0, 1 or 2 that lies aside; -1 where it has none.
  int stream(int number) const { return streams_.at(static_cast<std::size_t>(number)).get(); }
  // A copy of RestartOptions::channel that lies aside; -1 where there is none.
  int channel() const { return channel_.get(); }
  // A copy of the connection that the restart command has made for a socket of the image.
  int connection(std::uint64_t id) const { return connections_.at(id).get(); }
  // Where object `index` is open.
  int object(std::uint32_t index) const;
  // The description that a number of a process leads to. The image must have it.
  std::uint32_t description_of(std::uint32_t process, int number) const;
  // Where a description of the image is open until all are.
  int place_of(std::uint32_t description) const { return places_.at(description); }
  // The first process that has a description. One must have it.
  std::uint32_t holder_of(std::uint32_t description) const;
  // Whether it is the first of those that lead to its description.
  bool is_first(const image::Descriptor& descriptor) const;
  // Whether no number leads to a description: it is on its way in a message.
  bool is_in_flight(std::uint32_t description) const { return firsts_.at(description) == nullptr; }
  // Whether the numbers of the process are in use already: it is the only one.
  bool is_single() const { return single_; }

 private:
  bool single_;
  int lowest_aside_;
  std::vector<int> places_;                       // of each description
  std::vector<const image::Descriptor*> firsts_;  // of each description; null: it is on its way
  std::array<FileDescriptor, 3> streams_;
  FileDescriptor channel_;
  std::map<std::uint64_t, FileDescriptor> connections_;  // by the socket's id
};

struct TableActivation {
  RestoreContext& context;  // of the first process that has the description
  const image::Descriptors& image;
  std::span<RestoreContext* const> processes;
};

// Which process of a tree opens a description again.
enum class Opener {
  Root,    // before its children are made: they inherit it
  Holder,  // the first process that has it, whose own it is: before its children are made, in the same way
  Each,    // each that has it, one of its own, when its numbers are placed: only then is there what it is about
};

class Kind {
 public:
  using Description = image::OpenDescription;
  using Tag = image::OpenDescription::KindCase;

  virtual ~Kind() = default;

  // The member of OpenDescription's oneof.
  virtual Tag tag() const = 0;

  // Whether `seen` is of this kind. The first kind in the list that says so captures it.
  virtual bool recognises(const TableCapture& table, const Seen& seen) = 0;
  virtual void capture(TableCapture& table, const Seen& seen, Description& description) = 0;
  // When all descriptions of the table have been captured.
  virtual void finish(TableCapture& table) { static_cast<void>(table); }
  // Whether descriptors 0, 1 and 2 get descriptions of their own even where they share one.
  virtual bool parts_standard_streams() const { return false; }
  // Whether the open description is shared with the restart command's caller, so that its flags and owner are not to be
  // touched.
  virtual bool is_callers() const { return false; }

  // Validates the message and what it refers to outside the snapshot.
  virtual void check(TableCheck& table, const Description& description) = 0;

  virtual Opener opener(const Description& description) const { return static_cast<void>(description), Opener::Root; }
  // Opens it again, at whatever number. Flags that F_SETFL can set need not be set.
  virtual FileDescriptor open(TableRestore& table, const Description& description) = 0;
  // When all numbers are in place.
  virtual void complete(TableRestore& table) { static_cast<void>(table); }
  // After that, for each description of this kind; `number` leads to it.
  virtual void connect(TableRestore& table, const Description& description, int number) {
    static_cast<void>(table), static_cast<void>(description), static_cast<void>(number);
  }
  // From outside, just before the program runs.
  virtual void activate(TableActivation& table, const Description& description, int number) {
    static_cast<void>(table), static_cast<void>(description), static_cast<void>(number);
  }
};

// One of each kind, in the order in which they are asked to recognise a description.
std::vector<std::unique_ptr<Kind>> make_kinds();

// The kind for a description of the image. Throws Damaged if there is none.
Kind& kind_of(const std::vector<std::unique_ptr<Kind>>& kinds, const image::OpenDescription& description);

// Whether one process of the image has all descriptors, and it alone.
bool is_of_one_process(const image::Descriptors& image);

// Whether that process of the image has a descriptor `number`. The descriptors must be in order.
bool has_number(const image::Descriptors& image, std::uint32_t process, int number);

// The numbers that lead to each description of the image, ascending. The image must have been checked.
std::vector<std::vector<image::Descriptor>> numbers_by_description(const image::Descriptors& image);

// Where each description of the image is open in the root while it restores them: at its first number, or at a private
// one (descriptors.h), above those of content objects, if there are several processes or if it is on its way in a
// message.
std::vector<int> places_of_descriptions(const image::Descriptors& image, int first_private_descriptor);
// The private numbers among these, as a half-open range.
std::pair<int, int> private_places(const image::Descriptors& image, int first_private_descriptor);

// Opens `path` with the flags of F_GETFL, without side effects: nothing is created or cut, no terminal becomes the
// controlling one, and it does not wait (O_NONBLOCK is left set). Throws.
FileDescriptor open_again(const std::string& path, std::uint32_t flags);
// A new description of what this process has open as `descriptor`.
FileDescriptor reopen(int descriptor, std::uint32_t flags);

// A path from an image. Throws Damaged unless it is absolute, without NUL and of at most PATH_MAX bytes.
std::string checked_path(const std::string& path);

// Adds the advice that fits descriptors which cannot be kept.
std::string leave_out_advice(int number);

}  // namespace crs::engine
