// The address space of a process: capture, page data, check and restore.
//
// A checkpoint: look_at_memory() while the program runs; frozen: capture_memory(), whose pages ProcessPages saves; then
// record_pages(). A restart: check_memory() in the restart command; restore_memory_inside() in the newborn, after
// its descriptors; from outside MemoryRestore, before the descriptors are activated.
//
// Not seen from outside and therefore not kept: protection keys that are allocated but used by no area, and
// mlockall(MCL_FUTURE) of a program without any locked area.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/pages/lazy_start.h"
#include "engine/pages/page_data.h"
#include "engine/pages/page_loader.h"
#include "engine/pages/page_saver.h"
#include "engine/resources/context.h"
#include "engine/resources/descriptors/descriptors.pb.h"
#include "engine/resources/memory/memory.pb.h"
#include "engine/resources/memory/shared_objects.h"
#include "engine/resources/memory/survey.h"
#include "store/extents/extent_file.h"

namespace crs::engine {

// The names of the page data in a snapshot's directory: this, and the same with ".index".
inline constexpr const char* kPagesName = "pages";

// A program that a lazy restart of the same job began (`remembered_path`) and whose memory is still coming: waits until
// all is there.
void wait_for_memory(pid_t pid, const std::string& remembered_path);

// The program is frozen. Takes the survey's word for areas that are where they were (has_same_settings() tells later
// whether that was right), and asks again if any is not. Returns which pages are to be saved. Areas that cannot be kept
// are added to context.refusals. A process that has another's memory (context.memory_of) has none to save.
std::vector<PageArea> capture_memory(CaptureContext& context, MemorySurvey& survey, image::Memory& image);

// What of the survey's areas can be copied while the program still runs, ascending: private memory whose content is to
// be in the snapshot. `exclude` as in CheckpointOptions.
std::vector<PageArea> areas_to_copy_ahead(const MemorySurvey& survey, const std::vector<MemoryRange>& exclude);

// Completes the image with what only the pages tell, when all are in `writer`.
void record_pages(const SavedPages& saved, image::Memory& image);

// Every range of addresses that the image's areas (vDSO and vvar included) will occupy, ascending. The restart command
// chooses the newborn's reserved range (RestoreContext::reserved) outside them.
std::vector<RemoteRange> occupied_ranges(const image::Memory& memory);

// `content_objects`: how many there are in the image. Throws Damaged for an image that cannot be; otherwise what stands
// in the way: files missing, replaced or shorter, limits, too little memory.
void check_memory(CheckContext& context, const image::Memory& image, std::uint32_t content_objects,
                  const PageData& pages, std::uint32_t process = 0);
// Whether there is enough for all of them. Throws what is missing.
void check_memory_supply(std::span<const image::Memory* const> memories);
// The same for huge pages, of which `demand` has what else takes some. The files must have been checked.
void check_huge_pages(std::span<const image::Memory* const> memories, const image::Descriptors& descriptors,
                      std::map<std::uint64_t, std::uint64_t> demand);

// How many descriptors restore_memory_inside() needs, from `first_number` on. These numbers must be free, above all of
// the image's, and not below first_private_descriptor + private_descriptors_needed(image.descriptors()); RLIMIT_NOFILE
// must allow them.
int memory_descriptors_needed(const image::Memory& image);

// Opens the files to be mapped. After restore_descriptors_inside().
void restore_memory_inside(NewbornContext& context, const image::Memory& image, int first_number);

class AreaSettings;
class WriteTracker;

// The passes of the restore from outside, in this order, before activate_descriptors().
class MemoryRestore {
 public:
  // All must outlive this.
  MemoryRestore(RestoreContext& context, const image::Memory& image, const PageData& pages, const SharedPlaces& shared,
                int first_number);
  ~MemoryRestore();

  // Replaces all memory of the newborn but context.reserved by the image's areas, still empty. The newborn must have no
  // rseq area registered any more (rseq(2)): its memory disappears.
  void map_areas();
  // Fills them, on all cores.
  void load_pages();
  // The same, but leaves the greater part to a process that it starts and that outlives this one if need be: what is
  // touched at once, and the rest from `start` on. `members`: the processes of the tree, which end together if a page
  // cannot be had.
  void load_pages_lazily(std::span<const pid_t> members, const LazyStart& start);
  // After load_pages(), and before anything else is written: what is from now on. Null if it is not worth it, or this
  // system cannot.
  std::unique_ptr<WriteTracker> track_writes();
  // Final protections, names, guards, locks, seals, the kernel's bookkeeping, the executable link; closes the
  // descriptors.
  void finish();
  // Once the program's memory is to be merged as a whole (PR_SET_MEMORY_MERGE), which takes in every area: those that
  // it has taken out of that again.
  void take_out_of_merging();

 private:
  void unmap_what_was_not_mapped();
  int executable_to_set() const;
  void set_layout();

  RestoreContext& context_;
  const image::Memory& image_;
  const SharedPlaces& shared_;
  int first_number_;
  std::vector<int> page_data_;  // the descriptors that are read from
  PageLoader loader_;
  std::vector<bool> filled_;  // of each area: there is page data for it
  std::unique_ptr<AreaSettings> settings_;
};

}  // namespace crs::engine
