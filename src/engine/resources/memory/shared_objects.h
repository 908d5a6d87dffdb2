// Anonymous memory that several processes of a tree may share (mmap(2), MAP_SHARED | MAP_ANONYMOUS), and System V
// segments.
//
// A checkpoint: whoever meets such memory first gives it a number; each page is saved once, by the first process that
// shows it. A restart: what more than one process has, and every segment, is made in the root newborn, at places that
// no process of the image occupies, and inherited by all; each then moves views of it to where they belong (mremap(2)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "engine/pages/page_runs.h"
#include "engine/procfs/maps.h"
#include "engine/resources/memory/file_identity.h"
#include "engine/resources/memory/memory.pb.h"
#include "engine/resources/system_v/system_v.pb.h"
#include "engine/tracee/remote_address.h"

namespace crs::engine {

// The capturing side, one for the whole tree.
class SharedObjects {
 public:
  // An area that shows such memory.
  struct View {
    pid_t pid = 0;
    std::uint32_t backing = 0;  // image::Area::backing
    MapsLine area;
    bool locked = false;
    bool sealed = false;  // mseal(2): there can be no other mapping of it

    std::uint64_t end() const { return area.offset + area.range.size(); }
  };
  // In the memory; its end is exclusive.
  struct Offsets {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
  };
  struct Object {
    std::uint32_t number = 0;                            // image::SharedMemory::object
    std::map<std::uint64_t, std::uint64_t> saved_parts;  // offsets: start -> end
    std::vector<View> views;
    std::optional<std::uint64_t> size;  // bytes, of all of it; not of segments
    struct HugePages {
      bool reserved = false;                  // reading a page that is not there brings it, and there is one
      std::optional<std::uint64_t> existing;  // bytes
    };
    std::optional<HugePages> huge;  // each view shows all of it

    // The parts of `run`, which lies in `area`, that nobody has saved; now they are.
    PageRuns take_unsaved(RemoteRange run, const MapsLine& area);
    // The view of the lowest part; there must be one.
    const View& lowest() const;
    // Those that no view shows, from the lowest one on to the end. `size` must be known.
    std::vector<Offsets> unmapped() const;
    // Of huge pages: whether there may be some that nobody has saved.
    bool may_have_more() const;
  };
  // Device and inode as /proc/PID/maps has them; the inode of a segment is its id, which may be another's inode.
  using Key = std::tuple<dev_t, ino_t, bool>;
  static Key key_of(const MapsLine& line) { return {line.device, line.inode, is_segment(line)}; }
  Object& of(const MapsLine& line) { return of(key_of(line)); }
  Object& of(const Key& key) {
    Object& object = objects_[key];
    if (object.number == 0) object.number = static_cast<std::uint32_t>(objects_.size());
    return object;
  }

  // Those of which views do not show everything, or of which processes have not touched every huge page that is there,
  // by the process that has the lowest view.
  std::map<pid_t, std::vector<Object*>> partly_unmapped();

  // A file that is mapped shared is kept by its path or as content of the snapshot: false if another area of it is kept
  // the other way, so that they would not share it any more.
  bool agree(const MapsLine& line, bool by_path) {
    return by_path_.try_emplace(key_of(line), by_path).first->second == by_path;
  }

  // Of the files that the processes have mapped, most of which many of them have.
  Backings& backings() noexcept { return backings_; }

 private:
  std::map<Key, Object> objects_;
  std::map<Key, bool> by_path_;
  Backings backings_;
};

// Where the memory that processes of the image share is made for all of them.
class SharedPlaces {
 public:
  SharedPlaces() = default;
  // `memories`: of each process. Nothing of this process lies in the places either. Throws if there is no room.
  SharedPlaces(std::span<const image::Memory* const> memories, const image::SystemV& system_v);

  // All places together; empty if nothing is shared.
  RemoteRange range() const noexcept { return range_; }
  // Where the newborn has that memory; nothing if only one process has it and it is no segment.
  std::optional<RemoteAddress> find(const image::SharedMemory& memory) const;
  // All that it has there, in bytes of whole pages; find() must have found it.
  std::uint64_t size_of(const image::SharedMemory& memory) const { return places_.at(memory.object()).size; }

  // In the root newborn, when the segments are there: makes the memory. Throws.
  void make_inside() const;

 private:
  struct Place {
    RemoteAddress address;
    std::uint64_t size = 0;
    bool reserves = false;
    std::uint64_t huge_page_bytes = 0;
    std::optional<int> segment;

    std::uint64_t alignment() const { return huge_page_bytes != 0 ? huge_page_bytes : kPageSize; }
  };
  // What is to be made, without its place.
  void collect(std::span<const image::Memory* const> memories, const image::SystemV& system_v);

  std::map<std::uint32_t, Place> places_;  // by object
  RemoteRange range_;
};

}  // namespace crs::engine
