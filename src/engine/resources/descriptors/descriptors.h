// The descriptor table of a process: capture, check, restore.
//
// Numbers that share one open file description share it again. Each kind of description has a folder of its own (files,
// pipes, epolls,
// ...) with its message, its capture and its restore; kinds.cc lists them.
//
// The order of a restart: check_descriptors in the restart command; restore_descriptors_inside in the newborn; mappings
// of content objects (content_objects.h); activate_descriptors from outside; commit_set_aside in the restart command,
// last of all.
#pragma once

#include <string>
#include <vector>

#include "engine/resources/context.h"
#include "engine/resources/descriptors/content_objects.h"
#include "engine/resources/descriptors/descriptors.pb.h"

namespace crs::engine {

// Captures every descriptor. What cannot be kept is added to context.refusals. Reads only; the program notices nothing.
void capture_descriptors(CaptureContext& context, image::Descriptors& image);

// Before anything is started. Throws Damaged for an image that cannot be, Failed with what is wrong for files that are
// missing, replaced, shorter or changed, or that cannot be opened. Opens files and closes them again, changes nothing.
void check_descriptors(CheckContext& context, const image::Descriptors& image);

// In the newborn: closes every descriptor outside the private ones that the image does not have and opens those that it
// has. Timers are not running and locks not taken yet. All signals must be blocked.
void restore_descriptors_inside(NewbornContext& context, const image::Descriptors& image);

// From outside, after the memory is in place: seals memfds, closes the content objects' private numbers, takes file
// locks, starts timerfds.
void activate_descriptors(RestoreContext& context, const image::Descriptors& image);

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
