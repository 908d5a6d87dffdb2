// The memory of one process on its way into a snapshot: as much as possible before and after the time in which the
// program stands still.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/pages/held_pages.h"
#include "engine/pages/precopy.h"
#include "engine/tracee/twin.h"
#include "engine/tracking/tracking_keeper.h"

namespace crs::engine {

// How what is left to be read while the program stands still is dealt with. Measured on two x86-64 virtual cores: what
// does not fit into memory is written at about 1.5 GB/s; copying page tables takes 10 to 24 ms for each GiB that there
// is. What a fork takes besides is assumed, not measured.
struct PauseBudget {
  std::uint64_t most_held = std::uint64_t{32} << 20;
  double seconds_per_byte_written = 1 / 1.5e9;
  double seconds_per_byte_forked = 20e-3 / (1 << 30);
  double seconds_per_fork = 1e-3;
};

// Measured on two x86-64 virtual cores: a stopped program's memory is read at 3 to 7 GB/s, and a stop costs it 1 ms or
// two beside what is read. So there is no point in copying less than this before.
inline constexpr std::uint64_t kWorthCopyingAhead = std::uint64_t{4} << 20;

class ProcessPages {
 public:
  // `writer` must outlive this; it may be used for several processes, and so may `held_memory`, which is for what is
  // read while the program stands still (null: this has its own).
  explicit ProcessPages(ExtentWriter& writer, const PauseBudget& budget = {}, HeldMemory* held_memory = nullptr)
      : writer_(writer), budget_(budget), held_memory_(held_memory) {}

  // Before copy_ahead(): `tracked` says what was written since the snapshot that `earlier` is of.
  void continue_from(EarlierPages earlier, TrackedProcess tracked);

  // The program runs, and will go on after the checkpoint: copies what of `areas` is worth it, which is nothing of less
  // than `least` bytes, and prepares for the rest. Returns why it could not, or nothing.
  std::string copy_ahead(pid_t pid, const std::vector<PageArea>& areas, const Precopy::StopBriefly& stop_briefly,
                         std::uint64_t least = kWorthCopyingAhead);

  // After copy_ahead(), just before the program is stopped: copies what was written meanwhile, if that is worth it.
  void catch_up(const Precopy::StopBriefly& stop_briefly);

  // Before take(): whose pages they are, by its index in the tree, which is known when all of it is frozen.
  void set_process(std::uint32_t process) noexcept { process_ = process; }

  // The twin (0: none) and what finish() is going to read of it.
  pid_t twin() const noexcept { return twin_ ? twin_->pid() : 0; }
  std::span<const PageArea> left_to_twin() const noexcept { return left_to_twin_; }
  bool tracks() const noexcept { return precopy_ && precopy_->tracks(); }

  // Makes a twin of the frozen program, if it can; `scratch` is set to where its memory is not the program's.
  using MakeTwin = std::function<std::unique_ptr<Twin>(RemoteRange& scratch)>;

  // The program is frozen, and no thread of it is borrowed: reads all of `areas` that has not been copied. After
  // copy_ahead() it is read into memory, to be written by finish(), as far as that is possible; and if it is far more,
  // a twin of the program keeps it.
  void take(const RemoteMemory& source, const std::vector<PageArea>& areas, const MakeTwin& make_twin = {});

  // The program may run again; without take(), it has ended meanwhile, and none of its copies count. Nothing of this
  // process is appended to the writer afterwards. If `tracked` is not null,
  // tracking goes on by what is put there (without a descriptor: there was none).
  SavedPages finish(TrackedProcess* tracked = nullptr);
  // After that: whether anything of the earlier snapshot is part of this one.
  bool uses_earlier() const noexcept { return precopy_ && precopy_->uses_earlier(); }

 private:
  unsigned readers() const;
  bool twin_is_cheaper(std::span<const PageArea> rest) const;
  void leave_to_twin(std::vector<PageArea>& rest, RemoteRange scratch);

  ExtentWriter& writer_;
  PauseBudget budget_;
  std::uint32_t process_ = 0;
  std::unique_ptr<HeldMemory> own_held_memory_;
  HeldMemory* held_memory_;
  std::optional<Precopy> precopy_;
  std::optional<HeldPages> held_;
  std::unique_ptr<Twin> twin_;
  std::vector<PageArea> left_to_twin_;
  SavedPages saved_;
};

}  // namespace crs::engine
