// The descriptor tables of the processes of a tree: capture, check, restore.
//
// Numbers that share one open file description, of one process or of several, share it again. Each kind of description
// has a folder of its own (files, pipes, epolls,
// ...) with its message, its capture and its restore; kinds.cc lists them.
//
// The order of a restart: check_descriptors in the restart command; OpenedDescriptions in the root newborn, before it
// makes its children, and completed when they are there; place_descriptors_inside in each process; mappings of content
// objects (content_objects.h); from outside finish_descriptors for each process and activate_descriptors for all;
// commit_set_aside in the restart command, last of all.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/resources/context.h"
#include "engine/resources/descriptors/content_objects.h"
#include "engine/resources/descriptors/descriptors.pb.h"

namespace crs::engine {

// Captures every descriptor of the processes of `tree`, the root first, whose context it is. What cannot be kept is
// added to context.refusals. Reads only; the program notices nothing.
void capture_descriptors(CaptureContext& context, std::span<const CapturedProcess> tree, image::Descriptors& image);

// Before anything is started. Throws Damaged for an image that cannot be, Failed with what is wrong for files that are
// missing, replaced, shorter or changed, or that cannot be opened. Opens files and closes them again, changes nothing.
// `processes`: how many there are in the image.
void check_descriptors(CheckContext& context, const image::Descriptors& image, std::uint32_t processes = 1);

// The descriptions of an image on their way to the processes that have them.
class OpenedDescriptions {
 public:
  // In the root newborn: closes every descriptor outside the private ones and opens every description of the image, in
  // a tree at private numbers, which its children inherit; a single process has them where they belong. Timers are not
  // running and locks not taken yet. All signals must be blocked. Both arguments must outlive this.
  OpenedDescriptions(NewbornContext& context, const image::Descriptors& image);
  // In every process before place_descriptors_inside(): what was held aside is closed. Not in those that have
  // another's table.
  ~OpenedDescriptions();
  OpenedDescriptions(const OpenedDescriptions&) = delete;
  OpenedDescriptions& operator=(const OpenedDescriptions&) = delete;

  // In the root newborn, when all processes of the tree are there: messages may name them as their senders. Puts back
  // what waits to be read, and lets epoll instances watch.
  void complete();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// In each process of a tree but the root, before its children are made: opens what it alone can open and they inherit.
void open_own_inside(NewbornContext& context, const image::Descriptors& image);

// In each process of a tree but the root that leads a session, before its children of that session are made: gives it
// its controlling terminal, if that is one of the image's own.
void lead_session_inside(NewbornContext& context, const image::Descriptors& image);

// In a process of a tree that has another's descriptor table, before that one places its descriptors.
void join_descriptors_inside(NewbornContext& context, const image::Descriptors& image);

// In each process of a tree that has a table of its own, when all its children are made: gives it its own numbers and
// closes the private ones of the descriptions. Nobody else who has the table may have anything open meanwhile but at
// private numbers.
void place_descriptors_inside(NewbornContext& context, const image::Descriptors& image);

// From outside, when the memory of every process is in place: `processes` have one context for each process of the
// image, null for zombies. Seals memfds, closes the content objects' private numbers, takes file locks, starts
// timerfds.
void activate_descriptors(std::span<RestoreContext* const> processes, const image::Descriptors& image);

// In the restart command, when everything else has succeeded and the program is about to run: files that the program
// had open for writing and that have grown since are cut back to their length at the checkpoint. First every tail is
// written to a file of its own in options.set_aside_directory and synced; only when all are safe the files are cut.
// Adds a note for each.
void commit_set_aside(const RestartOptions& options, const image::Descriptors& image, std::vector<std::string>& notes);

// How many numbers from first_private_descriptor on this room needs for itself.
int private_descriptors_needed(const image::Descriptors& image);

// `count` numbers that the image leaves free, below the limit of open files: above all of its own, or in a gap between
// them.
struct PrivateNumbers {
  int first;
  int end;
};
PrivateNumbers choose_private_numbers(const image::Descriptors& image, int count);

}  // namespace crs::engine
